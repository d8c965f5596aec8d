import { Args } from '@oclif/core';
import { BaseCommand } from '../../ui/base-command.ts';
import { accessFlags, archiveAccess } from '../../ui/flags.ts';

export default class ArchiveList extends BaseCommand {
  static override summary = 'Tell which archives there are, and what each holds.';
  static override description =
    'What is damaged in a directory is told with the reason, the others are listed, and the exit code is 6. Tar files and image layouts ' +
    'of other tools are told as well; other files are passed over.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> /srv/archives',
    '<%= config.bin %> <%= command.id %> golden.tar --json',
  ];
  static override strict = false;
  static override args = {
    place: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'Archive, or directory with archives in it; there may be several.',
    }),
  };

  static override flags = { ...accessFlags };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(ArchiveList);
    const [{ listArchives }, view] = await Promise.all([
      import('../../engine/duplicate/list-archives.ts'),
      import('../../ui/archive-list-view.ts'),
    ]);
    const list = await listArchives(argv as string[], archiveAccess(flags));
    this.show(flags, view.archiveListDocument(list), view.archiveListText(list));
    const damaged = list.others.find(({ what }) => what === 'damaged');
    if (damaged !== undefined) this.exit(damaged.error.exitCode);
  }
}
