/** Starts "qemu-nbd" in a folder, says so when it has made its file there, and holds it: FOLDER. */
import { join } from 'node:path';
import { startHelper } from '../../../src/engine/image/helper.ts';

const [folder = ''] = process.argv.slice(2);
const helper = await startHelper('qemu-nbd', [join(folder, 'number')], folder);
await helper.made('pid');
console.log('made');
process.stdin.resume();
