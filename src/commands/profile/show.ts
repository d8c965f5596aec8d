import { BaseCommand } from '../../ui/base-command.ts';
import { targetArgument } from '../../ui/flags.ts';

export default class ProfileShow extends BaseCommand {
  static override summary = 'Show the profile in the region of a target; secrets appear as short hashes.';
  static override examples = ['<%= config.bin %> profile show /dev/sdb'];
  static override args = { target: targetArgument };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ProfileShow);
    const [{ showProfile }, { describeRegion }, { profileText }] = await Promise.all([
      import('../../engine/duplicate/show-profile.ts'),
      import('../../engine/profile/carriers/find.ts'),
      import('../../ui/profile-view.ts'),
    ]);
    const shown = await showProfile(args.target);
    this.show(flags, { ...shown, region: shown.region }, profileText(shown, describeRegion(shown.region)));
  }
}
