import { Args } from '@oclif/core';
import { progressFlag, yesFlag } from '../ui/base-command.ts';
import { cloneFlags } from '../ui/clone-request.ts';
import { DuplicateCommand } from '../ui/duplicate-command.ts';
import { archiveAccess, sourceArgument } from '../ui/flags.ts';

export default class Clone extends DuplicateCommand {
  static override summary = 'Copy a disk onto a target and make the target itself again.';
  static override description =
    'Copies the parts of SOURCE onto TARGET. The region of TARGET that holds its profile is never written; when the ' +
    'copy has been read back, the system on TARGET is given its own name, ids, addresses, keys, services and drivers ' +
    'from that profile, and only then TARGET can boot. Killed at any time, the same command finishes it.\n\n' +
    'SOURCE and TARGET are block devices, raw disk images, images that qemu-nbd knows (qcow2, vmdk, vhdx, vdi), ' +
    'NBD servers (nbd://, nbds://, nbd+unix://), or a part of one of them (disk.img#2, disk.img#label=root).';
  static override examples = [
    '<%= config.bin %> <%= command.id %> server.img target.img --dry-run',
    '<%= config.bin %> <%= command.id %> /dev/sda /dev/sdb',
    '<%= config.bin %> <%= command.id %> golden.img /dev/sdb --as web-07.yaml --expect serial=S3Z9NB0K --yes',
    '<%= config.bin %> <%= command.id %> server.img target.img --skip application',
    '<%= config.bin %> <%= command.id %> golden.qcow2 --to web-01.qcow2=web-01.yaml --to web-02.qcow2=web-02.yaml --size 20G',
    '<%= config.bin %> <%= command.id %> golden.img /dev/sdb --delta',
  ];
  static override args = {
    source: sourceArgument,
    target: Args.string({
      ignoreStdin: true,
      description: 'What to copy onto; more of them, or all, can be named with --to.',
    }),
  };
  static override flags = { ...yesFlag, ...cloneFlags, ...progressFlag };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Clone);
    const [{ isArchive }, { openArchiveOrPart }] = await Promise.all([
      import('../engine/duplicate/source.ts'),
      import('../engine/archive/open.ts'),
    ]);
    const archive = (await isArchive(args.source)) ? await openArchiveOrPart(args.source, archiveAccess(flags)) : undefined;
    await this.duplicate({ source: args.source, archive }, args.target, flags);
  }
}
