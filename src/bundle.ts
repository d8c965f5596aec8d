/** What the built program consists of: everything in one file, of which a command loads its part. See scripts/build.mjs. */
import type * as table from './command-table.ts';
import type * as serving from './serve.ts';

export { main } from './main.ts';

/** Of CommonJS, as the build makes it; what is required runs only then. */
declare const require: {
  (path: './command-table.ts'): typeof table;
  (path: './serve.ts'): typeof serving;
};

/** For oclif, which asks for it only when a command runs, and does not wait. */
export function commands() {
  return require('./command-table.ts').COMMANDS;
}

/** For the processes that show archives to the kernel. */
export function serve(args: readonly string[]) {
  return require('./serve.ts').serve(args);
}
