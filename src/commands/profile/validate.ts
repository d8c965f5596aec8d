import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../ui/base-command.ts';
import { profilesFlag } from '../../ui/flags.ts';

export default class ProfileValidate extends BaseCommand {
  static override strict = false;
  static override summary = 'Check profiles, and that no two of them claim the same name or address.';
  static override description = 'Every finding is told with its code, line and column. Exits 5 when there is one.';
  static override examples = [
    '<%= config.bin %> profile validate web-07.yaml',
    '<%= config.bin %> profile validate hosts/*.yaml --json',
  ];
  static override args = {
    file: Args.string({ required: true, ignoreStdin: true, description: 'Profile, a YAML file; more may follow.' }),
  };
  static override flags = {
    profiles: profilesFlag,
    base: Flags.boolean({ summary: 'Check a profile that others extend: it needs no host.' }),
    secrets: Flags.boolean({ default: true, allowNo: true, summary: 'Look at the files that secrets are in.' }),
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(ProfileValidate);
    const { validateProfiles } = await import('../../engine/profile/validate.ts');
    const files = argv as string[];
    const options = {
      searchPath: flags.profiles ?? [],
      base: flags.base,
      secrets: flags.secrets ? ('check' as const) : ('skip' as const),
    };
    await validateProfiles(files, options);
    this.show(flags, { files, valid: true }, files.map((file) => `${file}: valid\n`).join(''));
  }
}
