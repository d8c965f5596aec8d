/** The program behind the launcher: loads oclif, runs the command, reports how it ended. */
import { Config, flush, run } from '@oclif/core';
import { errorDocument, errorText, exitCodeOf, isPlainExit } from './ui/errors.ts';
import { raiseAgain } from './ui/signals.ts';
import { targetAfter } from './ui/target-state.ts';

export interface MainOptions {
  /** Run the commands from src instead of dist (needs a TypeScript loader). */
  readonly fromSource?: boolean;
}

/** `root` is the folder of package.json, `argv` the words after the program's name. Sets the process's exit code. */
export async function main(root: string, argv: readonly string[], options: MainOptions = {}): Promise<void> {
  process.stdout.on('error', endOnClosedPipe);
  try {
    const config = await (options.fromSource === true ? sourceConfig(root) : Config.load(root));
    await run([...argv], config);
    await flush();
  } catch (error) {
    process.exitCode = report(error, argv);
  }
  raiseAgain();
}

function report(error: unknown, argv: readonly string[]): number {
  if (isPlainExit(error)) return exitCodeOf(error);
  const target = targetAfter(error);
  const options = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  if (options.includes('--json')) process.stdout.write(`${JSON.stringify(errorDocument(error, target), undefined, 2)}\n`);
  process.stderr.write(errorText(error, target));
  return exitCodeOf(error);
}

/** `doppel ... | head` ends quietly, as other tools do by SIGPIPE. */
function endOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
}

async function sourceConfig(root: string): Promise<Config> {
  const { readFileSync } = await import('node:fs');
  const { join } = await import('node:path');
  const pjson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  pjson.oclif.commands.target = './src/command-table.ts';
  const config = new Config({ root, pjson, ignoreManifest: true });
  await config.load();
  return config;
}
