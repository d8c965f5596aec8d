/** Opens a target, says so, and holds it until the end of the standard input: PATH [nobody]. */
import { openTarget } from '../../../src/engine/image/open.ts';
import { becomeNobody } from './nobody.ts';

const [path = '', who] = process.argv.slice(2);
if (who === 'nobody') becomeNobody();
const image = await openTarget(path);
console.log('open');
process.stdin.resume();
process.stdin.once('end', () => void image.close());
