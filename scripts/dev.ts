/** Runs the command line from its sources: `npm run dev -- inspect disk.img`. The thread pool keeps Node's default size. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from '../src/main.ts';

await main(dirname(dirname(fileURLToPath(import.meta.url))), process.argv.slice(2), { table: './src/command-table.ts' });
