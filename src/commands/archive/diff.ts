import { Args } from '@oclif/core';
import { BaseCommand, progressFlag } from '../../ui/base-command.ts';
import { accessFlags, archiveAccess } from '../../ui/flags.ts';
import { writeOutput } from '../../ui/output.ts';

export default class ArchiveDiff extends BaseCommand {
  static override summary = 'Tell in what two archives differ, part by part, and how much a delta would fetch.';
  static override description =
    'Compares what the archives say of their machines, and the digests of what their parts hold. Contents are read only where digests ' +
    'cannot tell, as with segments of other sizes. Exits 8 when they differ.';
  static override examples = ['<%= config.bin %> <%= command.id %> golden-may.tar golden-june.tar'];
  static override args = {
    old: Args.string({ required: true, ignoreStdin: true, description: 'An archive.' }),
    new: Args.string({ required: true, ignoreStdin: true, description: 'Another one, as of a later day.' }),
  };
  static override flags = { ...accessFlags, ...progressFlag };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ArchiveDiff);
    const [{ openArchive }, { archivesDifferError, diffArchives }, { archiveDiffText }] = await Promise.all([
      import('../../engine/archive/open.ts'),
      import('../../engine/duplicate/archive-diff.ts'),
      import('../../ui/archive-diff-view.ts'),
    ]);
    const old = await openArchive(args.old, archiveAccess(flags), this.lasting);
    try {
      const changed = await openArchive(args.new, archiveAccess(flags), this.lasting);
      try {
        const diff = await this.work(flags, (run) => diffArchives(old, changed, run));
        if (!diff.equal) {
          if (!flags.json) writeOutput(archiveDiffText(diff));
          throw archivesDifferError(diff);
        }
        this.show(flags, { result: diff }, archiveDiffText(diff));
      } finally {
        await changed.close();
      }
    } finally {
      await old.close();
    }
  }
}
