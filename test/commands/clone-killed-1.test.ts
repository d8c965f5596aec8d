import { killedKnown } from './clone-killed-known.ts';

killedKnown(1, 2);
