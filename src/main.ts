/** The program behind the launcher: loads oclif, runs the command, reports how it ended. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Config, flush, type Interfaces, Plugin, run } from '@oclif/core';
import { UsageError } from './engine/errors.ts';
import { errorDocument, errorText, exitCodeOf, isPlainExit } from './ui/errors.ts';
import { outputFailed, writeOutput } from './ui/output.ts';
import { raiseAgain } from './ui/signals.ts';
import { targetState } from './ui/target-state.ts';

export interface MainOptions {
  /** Module with the table of commands instead of the built one, relative to the root: `./src/command-table.ts` with a TypeScript loader. */
  readonly table?: string;
}

/** `root` is the folder of package.json, `argv` the words after the program's name. Sets the process's exit code. */
export async function main(root: string, argv: readonly string[], options: MainOptions = {}): Promise<void> {
  // Before oclif's own listener, which throws the bare error.
  process.stdout.prependListener('error', endOnClosedPipe);
  // Who does not listen to the messages any more must not stop the work, nor change how it ends.
  process.stderr.on('error', () => {});
  // A promise that nobody waited for: a bug, and nobody knows what still runs.
  process.on('uncaughtException', (error) => process.exit(report(error, argv, [])));
  let commands: readonly string[] = [];
  try {
    refuseUndecodable(argv);
    // doppel has no plugins that somebody could add; looking for them takes time.
    const load = { root, userPlugins: false, devPlugins: false };
    const config = await Config.load(
      options.table === undefined ? load : { ...load, plugins: await pluginsWith(root, options.table) },
    );
    commands = config.commands.filter(({ hidden }) => hidden !== true).map(({ id }) => id);
    await run([...argv], config);
    await flush();
  } catch (error) {
    process.exitCode = report(error, argv, commands);
  }
  raiseAgain();
}

/** Node has replaced what is no UTF-8 by then: the word may name another file than the one that was meant. @throws UsageError */
function refuseUndecodable(argv: readonly string[]): void {
  const word = argv.find((each) => each.includes('\uFFFD'));
  if (word === undefined) return;
  throw new UsageError(`the name ${word} is not valid UTF-8`, {
    code: 'NAME_NOT_UTF8',
    todo: 'Name it through a link whose name is: ln -s OLD NEW.',
    data: { word },
  });
}

function report(error: unknown, argv: readonly string[], commands: readonly string[]): number {
  if (isPlainExit(error)) return exitCodeOf(error);
  const target = targetState();
  const options = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  if (options.includes('--json')) {
    try {
      writeOutput(`${JSON.stringify(errorDocument(error, target, commands), undefined, 2)}\n`);
    } catch (lost) {
      if (!(error instanceof Error && error.message === (lost as Error).message)) process.stderr.write(errorText(lost, target));
    }
  }
  process.stderr.write(errorText(error, target, commands));
  return exitCodeOf(error);
}

/** `doppel ... | head` ends quietly, as other tools do by SIGPIPE. */
function endOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw outputFailed(error);
  process.exit(0);
}

/** The program as oclif sees it, with another table of commands, read afresh instead of from the manifest of the build. */
export async function pluginsWith(root: string, table: string): Promise<Map<string, Interfaces.Plugin>> {
  const pjson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  pjson.oclif.commands.target = table;
  const plugin = new Plugin({ root, pjson, isRoot: true, ignoreManifest: true, errorOnManifestCreate: true });
  await plugin.load();
  return new Map([[plugin.name, plugin]]);
}
