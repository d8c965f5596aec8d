import { killedKnown } from './clone-killed-known.ts';

killedKnown(0, 2);
