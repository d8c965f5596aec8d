import { Args, Flags } from '@oclif/core';
import { BaseCommand, yesFlag } from '../../ui/base-command.ts';
import { profilesFlag, targetArgument } from '../../ui/flags.ts';

export default class ProfileWrite extends BaseCommand {
  static override summary = 'Draw an identity from a profile and store it in the region of a target.';
  static override description =
    'Resolves the profile completely, reads its secrets, draws machine id and SSH host keys, and stores all of it, so ' +
    'that every later clone makes the same machine. What was drawn before for the same host is kept unless ' +
    '--regenerate says otherwise.';
  static override examples = [
    '<%= config.bin %> profile write /dev/sdb web-07.yaml',
    '<%= config.bin %> profile write target.img web-07.yaml --yes --json',
  ];
  static override args = {
    target: targetArgument,
    file: Args.string({ required: true, ignoreStdin: true, description: 'The profile, a YAML file.' }),
  };
  static override flags = {
    ...yesFlag,
    profiles: profilesFlag,
    regenerate: Flags.boolean({ summary: 'Draw machine id and keys anew.' }),
    'replace-profile': Flags.boolean({ summary: 'The target may become another host than its profile says.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ProfileWrite);
    const [{ planWriteProfile, executeWriteProfile }, { describeRegion }] = await Promise.all([
      import('../../engine/duplicate/write-profile.ts'),
      import('../../engine/profile/carriers/find.ts'),
    ]);
    const request = {
      ...args,
      profiles: flags.profiles ?? [],
      regenerate: flags.regenerate,
      replaceProfile: flags['replace-profile'],
    };
    const plan = await planWriteProfile(request);
    const { bundle, previous, region, target } = plan;
    const { host } = bundle.resolved;
    await this.confirm(flags, {
      statement: `This writes the profile of ${host} to ${target.path}.`,
      facts: [
        ['Until now', previous === undefined ? 'no profile' : `${previous.resolved.host}, generation ${plan.generation}`],
        ['Machine id', bundle.generated.machineId],
        ['Region', describeRegion(region)],
      ],
    });
    const generation = await this.work(flags, (run) => executeWriteProfile(plan, run));
    const keys = bundle.generated.sshHostKeys.map(({ type }) => type);
    const document = {
      target,
      region,
      host,
      targetId: bundle.targetId,
      generation,
      machineId: bundle.generated.machineId,
      sshHostKeys: keys,
    };
    this.show(
      flags,
      document,
      `${target.path} is ${host} from now on: machine id ${bundle.generated.machineId}, SSH host keys ${keys.join(', ') || 'none'}, generation ${generation}.\n`,
    );
  }
}
