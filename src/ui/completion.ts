/** `doppel autocomplete`: oclif's, with file names as well, and plain words where its cache cannot be written. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ux } from '@oclif/core';
// The completion plugin exports no commands by name.
import Completion from '../../node_modules/@oclif/plugin-autocomplete/lib/commands/autocomplete/index.js';
import { IoError } from '../engine/errors.ts';

export default class ShellCompletion extends Completion {
  override async run(): Promise<void> {
    try {
      await super.run();
      await this.completeFiles();
    } catch (cause) {
      ux.action.stop('failed');
      if (!(cause instanceof Error && 'syscall' in cause)) throw cause;
      throw new IoError(`cannot store the words to complete: ${cause.message}`, {
        code: 'COMPLETION_CACHE',
        todo: `Make ${this.config.cacheDir} writable, or set XDG_CACHE_HOME to a directory that is.`,
        cause,
      });
    }
  }

  /** oclif's function knows commands and flags; where it knows nothing, bash shall offer file names as ever. */
  private async completeFiles(): Promise<void> {
    const { bin, cacheDir } = this.config;
    const file = join(cacheDir, 'autocomplete', 'functions', 'bash', `${bin}.bash`);
    const script = await readFile(file, 'utf8');
    await writeFile(file, script.replace(/^complete -F /m, 'complete -o bashdefault -o default -F '));
  }
}
