import { Args, Flags } from '@oclif/core';
import type { ArchiveAccess } from '../engine/archive/access.ts';
import type { OpenArchive } from '../engine/archive/archive.ts';
import { UsageError } from '../engine/errors.ts';
import { type CommonFlags, progressFlag, yesFlag } from '../ui/base-command.ts';
import { cloneFlags } from '../ui/clone-request.ts';
import { DuplicateCommand } from '../ui/duplicate-command.ts';
import { archiveAccess } from '../ui/flags.ts';

/** What a source at hand has, and an archive has not. */
const {
  exact: _exact,
  'allow-inconsistent': _use,
  'on-read-error': _errors,
  'source-map': _source,
  map: _map,
  ...flags
} = cloneFlags;

export default class Restore extends DuplicateCommand {
  static override summary = 'Put an archive onto a target and make the target itself again.';
  static override description =
    'As "doppel clone", with an archive that "doppel capture" made instead of a source. Everything is checked before it is put to ' +
    'use, and the region of TARGET that holds its profile is never written.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> golden.tar /dev/sdb',
    '<%= config.bin %> <%= command.id %> golden /dev/sdb --delta',
    '<%= config.bin %> <%= command.id %> oci://registry.example.com/golden:12 /dev/sdb',
    'ssh store "cat golden.tar" | <%= config.bin %> <%= command.id %> - /dev/sdb',
    '<%= config.bin %> <%= command.id %> golden --to web-01.img=web-01.yaml --to web-02.img=web-02.yaml --size 20G',
  ];
  static override args = {
    archive: Args.string({
      required: true,
      ignoreStdin: true,
      description:
        'What "doppel capture" made: a directory, a tar file, oci://HOST/REPOSITORY:TAG (or @sha256:DIGEST), a part of it (golden.tar#3), or - for a tar on standard input.',
    }),
    target: Args.string({
      ignoreStdin: true,
      description: 'What to restore onto; more of them, or all, can be named with --to.',
    }),
  };
  static override flags = {
    ...yesFlag,
    ...flags,
    exact: Flags.boolean({
      summary: 'Restore also what stands between partitions, if it was captured with --exact.',
      helpGroup: 'COPY',
    }),
    ...progressFlag,
  };

  async run(): Promise<void> {
    const { args, flags: given } = await this.parse(Restore);
    const archive = await (args.archive === '-' ? arriving(archiveAccess(given)) : this.#named(args.archive, given));
    const source = { 'allow-inconsistent': false, 'on-read-error': 'fail' as const };
    await this.duplicate({ source: args.archive === '-' ? archive.name : args.archive, archive }, args.target, {
      ...given,
      ...source,
    });
  }

  async #named(name: string, flags: Parameters<typeof archiveAccess>[0] & CommonFlags): Promise<OpenArchive> {
    const { openArchiveOrPart } = await import('../engine/archive/open.ts');
    return this.work(flags, () => openArchiveOrPart(name, archiveAccess(flags), this.lasting));
  }
}

async function arriving(access: ArchiveAccess): Promise<OpenArchive> {
  if (process.stdin.isTTY) {
    throw new UsageError('there is no archive on standard input', {
      code: 'NOTHING_PIPED',
      todo: 'Pipe one into it: ssh HOST "cat golden.tar" | doppel restore - TARGET, or name a directory or a tar file.',
    });
  }
  const [{ PipedArchive }, { StreamBytes }, { archiveOptions }] = await Promise.all([
    import('../engine/archive/piped.ts'),
    import('../engine/archive/stream-bytes.ts'),
    import('../engine/archive/open.ts'),
  ]);
  const name = 'standard input';
  return PipedArchive.open(name, new StreamBytes(name, process.stdin), await archiveOptions(access));
}
