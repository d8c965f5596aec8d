import { BaseCommand } from '../../ui/base-command.ts';
import { profilesFlag } from '../../ui/flags.ts';

export default class ProfileList extends BaseCommand {
  static override summary = 'List the profiles that others can extend, and where they are.';
  static override examples = ['<%= config.bin %> profile list', '<%= config.bin %> profile list --profiles site/'];
  static override flags = { profiles: profilesFlag };

  async run(): Promise<void> {
    const { flags } = await this.parse(ProfileList);
    const [{ listProfiles }, { table }] = await Promise.all([
      import('../../engine/profile/search.ts'),
      import('../../ui/table.ts'),
    ]);
    const profiles = await listProfiles(flags.profiles ?? []);
    const rows = profiles.map(({ name, description, file }) => [name, description ?? '', file]);
    this.show(flags, { profiles }, table([{ title: 'Name' }, { title: 'What it is', shrink: true }, { title: 'File' }], rows));
  }
}
