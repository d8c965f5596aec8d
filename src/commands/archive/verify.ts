import { Args } from '@oclif/core';
import { BaseCommand, progressFlag } from '../../ui/base-command.ts';
import { accessFlags, archiveAccess } from '../../ui/flags.ts';
import { formatBytes } from '../../ui/format.ts';
import { facts } from '../../ui/table.ts';

export default class ArchiveVerify extends BaseCommand {
  static override summary = 'Read all of an archive, and tell whether it is whole.';
  static override description = 'Every document, segment and digest is checked. Exit 6, with the place, when something is wrong.';
  static override examples = ['<%= config.bin %> <%= command.id %> golden.tar'];
  static override args = {
    archive: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'What "doppel capture" made: a directory, a tar file, or oci://HOST/REPOSITORY:TAG.',
    }),
  };
  static override flags = { ...accessFlags, ...progressFlag };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ArchiveVerify);
    const [{ openArchive }, { checkArchive }, { archiveFacts }, { secrecyFacts }] = await Promise.all([
      import('../../engine/archive/open.ts'),
      import('../../engine/archive/check.ts'),
      import('../../engine/archive/facts.ts'),
      import('../../ui/archive-view.ts'),
    ]);
    const archive = await this.work(flags, () => openArchive(args.archive, archiveAccess(flags), this.lasting));
    try {
      const result = await this.work(flags, (run) => checkArchive(archive, run));
      const text = [
        `${args.archive} is whole.\n`,
        facts([
          ['Data', `${formatBytes(result.data)} in ${result.segments} segments of ${formatBytes(result.stored)}`],
          ['Digest', result.digest],
          ...secrecyFacts(archiveFacts(archive)),
        ]),
      ].join('\n');
      this.show(flags, { archive: args.archive, ...archiveFacts(archive), ...result }, text);
    } finally {
      await archive.close();
    }
  }
}
