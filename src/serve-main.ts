/** The process behind a window over an archive while doppel is developed; the built program has dist/serve.cjs. */
import { serve } from './serve.ts';

await serve(process.argv.slice(2));
