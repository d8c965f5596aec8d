import { BaseCommand, yesFlag } from '../../ui/base-command.ts';
import { targetArgument } from '../../ui/flags.ts';

export default class ProfileInit extends BaseCommand {
  static override summary = 'Make the protected region for a profile on a target.';
  static override description =
    'On a GPT disk the region is a partition of its own, in the gap before the first partition or at the end of the ' +
    'disk; all other partitions stay. A blank disk gets a GPT first. Disks with an MBR need no region: "profile write" ' +
    'finds a raw range.';
  static override examples = ['<%= config.bin %> profile init /dev/sdb', '<%= config.bin %> profile init target.img --yes'];
  static override args = { target: targetArgument };
  static override flags = { ...yesFlag };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ProfileInit);
    const [{ planInit, executeInit }, { describeRegion }, { formatBytes }, { optional }] = await Promise.all([
      import('../../engine/duplicate/init-profile.ts'),
      import('../../engine/profile/carriers/find.ts'),
      import('../../ui/format.ts'),
      import('../../ui/disk-view.ts'),
    ]);
    const plan = await planInit(args.target);
    const { target, disk, region, newTable } = plan;
    const notes = plan.notes.map((note) => `Note: ${note}\n`).join('');
    if (this.showsPlan(flags)) process.stderr.write(notes);
    const what = newTable ? `gives ${target.path} a new partition table` : `adds a partition to the table of ${target.path}`;
    await this.confirm(flags, {
      statement: `This ${what} with a profile region.`,
      facts: [
        ['Size', formatBytes(target.size)],
        ...optional('Model', target.model),
        ...optional('Serial', target.serial),
        ['Now', disk.system?.hostname ?? (newTable ? 'no partition table' : 'no system was found on it')],
        ['Region', describeRegion(region)],
      ],
    });
    await this.work(flags, (run) => executeInit(plan, run));
    const next = `Give it a profile: doppel profile write ${target.path} FILE.yaml\n`;
    this.show(
      flags,
      { target, region, newTable, notes: plan.notes },
      `${target.path} has a profile region: ${describeRegion(region)}.\n${next}`,
    );
  }
}
