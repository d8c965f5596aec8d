/** Opens a target, says so, and holds it until the end of the standard input: PATH. */
import { openTarget } from '../../../src/engine/image/open.ts';

const image = await openTarget(process.argv[2] ?? '');
console.log('open');
process.stdin.resume();
process.stdin.once('end', () => void image.close());
