import { Args } from '@oclif/core';
import { BaseCommand } from '../ui/base-command.ts';
import { accessFlags, archiveAccess } from '../ui/flags.ts';

export default class Inspect extends BaseCommand {
  static override summary = 'Tell what is on a disk: table, parts, whose system it is, and its profile.';
  static override description = 'Reads only. Whose system it is can be told only by root, who may open the file systems.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> /dev/sda',
    '<%= config.bin %> <%= command.id %> server.qcow2 --json',
    '<%= config.bin %> <%= command.id %> "server.img#label=root"',
  ];
  static override args = {
    image: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'Block device, disk image of any format, NBD server, a part of one (disk.img#2), or an archive.',
    }),
  };

  static override flags = { ...accessFlags };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Inspect);
    const [{ inspectImage }, view] = await Promise.all([import('../engine/duplicate/inspect.ts'), import('../ui/disk-view.ts')]);
    const inspection = await inspectImage(args.image, archiveAccess(flags));
    this.show(flags, view.inspectionDocument(inspection), view.inspectionText(inspection));
  }
}
