// Loaded into every test process: replaces uvu by ./counted-uvu.ts.
import { register } from 'node:module';

register('./resolve-hook.mjs', import.meta.url);
