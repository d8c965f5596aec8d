/** The real program around the sample commands. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from '../../src/main.ts';

await main(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), process.argv.slice(2), {
  table: './test/ui/sample-commands.ts',
});
