/** Attaches a window, says its device, and holds it until the end of the standard input: FILE OFFSET LENGTH [nobody]. */
import { attachLoop } from '../../../src/engine/image/loop.ts';
import { becomeNobody } from './nobody.ts';

const [file = '', offset = '', length = '', who] = process.argv.slice(2);
if (who === 'nobody') becomeNobody();
const window = await attachLoop(file, { offset: Number(offset), length: Number(length) }, { readOnly: false });
console.log(window.device);
process.stdin.resume();
process.stdin.once('end', () => void window.close());
