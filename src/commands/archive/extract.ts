import { Args } from '@oclif/core';
import { BaseCommand, progressFlag } from '../../ui/base-command.ts';
import { accessFlags, archiveAccess } from '../../ui/flags.ts';
import { formatBytes, formatDuration } from '../../ui/format.ts';
import { keepPrivate } from '../../ui/private.ts';

export default class ArchiveExtract extends BaseCommand {
  static override summary = 'Write the disk that is in an archive, or a part of it, to a new image file.';
  static override description =
    'A plain copy, which nobody makes itself: what "doppel clone ARCHIVE FILE --as none" gives with the size that was captured. FILE gets ' +
    'its name when all of it was checked and read back; until then there is none.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> golden.tar server.img',
    '<%= config.bin %> <%= command.id %> "golden.tar#label=root" root.img',
  ];
  static override args = {
    archive: Args.string({ required: true, ignoreStdin: true, description: 'An archive, or a part of one (golden.tar#3).' }),
    file: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'Where to; there must be none yet. Raw if it ends with .img or .raw, or .qcow2, .vmdk, .vhdx, .vdi.',
    }),
  };
  static override flags = { ...accessFlags, ...progressFlag };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ArchiveExtract);
    const [{ openArchiveOrPart }, { extractImage }] = await Promise.all([
      import('../../engine/archive/open.ts'),
      import('../../engine/duplicate/extract.ts'),
    ]);
    keepPrivate(args.archive);
    const archive = await openArchiveOrPart(args.archive, archiveAccess(flags), this.lasting);
    try {
      const result = await this.work(flags, (run) => extractImage(archive, args.file, run));
      const { source, size, written, seconds } = result;
      const text = `${args.file} holds ${source}: ${formatBytes(size)}, of which ${formatBytes(written)} are data, in ${formatDuration(seconds)}.\n`;
      this.show(flags, { file: args.file, ...result }, text);
    } finally {
      await archive.close();
    }
  }
}
