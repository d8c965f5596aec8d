import { Flags } from '@oclif/core';
import { unusedModes } from '../engine/duplicate/plan.ts';
import { ExitCode } from '../engine/errors.ts';
import { BaseCommand, progressFlag, yesFlag } from '../ui/base-command.ts';
import {
  asFlag,
  identityRequest,
  kindChoice,
  kindFlags,
  kindOverrides,
  profilesFlag,
  sourceArgument,
  targetArgument,
} from '../ui/flags.ts';

export default class Clone extends BaseCommand {
  static override summary = 'Copy a disk onto a target and make the target itself again.';
  static override description =
    'Copies the parts of SOURCE onto TARGET. The region of TARGET that holds its profile is never written; when the ' +
    'copy has been read back, the system on TARGET is given its own name, ids, addresses, keys, services and drivers ' +
    'from that profile, and only then TARGET can boot. Killed at any time, the same command finishes it.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> server.img target.img --dry-run',
    '<%= config.bin %> <%= command.id %> /dev/sda /dev/sdb',
    '<%= config.bin %> <%= command.id %> golden.img /dev/sdb --as web-07.yaml --expect serial=S3Z9NB0K --yes',
    '<%= config.bin %> <%= command.id %> server.img target.img --skip application',
  ];
  static override args = { source: sourceArgument, target: targetArgument };
  static override flags = {
    ...yesFlag,
    as: asFlag,
    profiles: profilesFlag,
    'replace-profile': Flags.boolean({
      summary: 'With --as FILE or source: the target may become another host than its profile says.',
    }),
    'dry-run': Flags.boolean({ summary: 'Print the plan with all differences and stop.' }),
    'detailed-exitcode': Flags.boolean({
      dependsOn: ['dry-run'],
      summary: `With --dry-run: exit ${ExitCode.changesPending} when something would change.`,
    }),
    ...kindFlags,
    unused: Flags.option({
      options: unusedModes,
      default: 'skip' as const,
      summary: "What becomes of the target's bytes where the source's file systems use none.",
      helpGroup: 'COPY',
    })(),
    exact: Flags.boolean({ summary: 'Copy every byte, also unused ones and those between partitions.', helpGroup: 'COPY' }),
    verify: Flags.boolean({
      default: true,
      allowNo: true,
      summary: 'Read back what was written, past the cache; done unless --no-verify is given.',
      helpGroup: 'COPY',
    }),
    'allow-inconsistent': Flags.boolean({
      summary: 'Copy a source that is in use, every byte as it happens to be.',
      helpGroup: 'COPY',
    }),
    expect: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      summary: 'Refuse a target that is not this one; keys: serial, wwn, size (bytes), host.',
      helpValue: 'KEY=VALUE',
    }),
    ...progressFlag,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Clone);
    const [{ planClone }, { executeClone }, { parseExpectation }, view, { cloneText }] = await Promise.all([
      import('../engine/duplicate/make-plan.ts'),
      import('../engine/duplicate/execute.ts'),
      import('../engine/duplicate/expect.ts'),
      import('../ui/plan-view.ts'),
      import('../ui/result-view.ts'),
    ]);
    const request = {
      source: args.source,
      target: args.target,
      identity: identityRequest(flags.as, flags.profiles, flags['replace-profile']),
      kinds: kindChoice(flags),
      kindOverrides: kindOverrides(flags.kind),
      unused: flags.unused,
      exact: flags.exact,
      verify: flags.verify,
      allowInconsistent: flags['allow-inconsistent'],
      expect: (flags.expect ?? []).map(parseExpectation),
    };
    const plan = await this.work(flags, ({ onEvent, signal }) => planClone(request, { onEvent, signal }));
    if (flags['dry-run']) {
      this.show(flags, { plan: view.planDocument(plan) }, `${view.planText(plan, { diff: true })}\nNothing was written.\n`);
      if (flags['detailed-exitcode']) this.exit(ExitCode.changesPending);
      return;
    }
    if (this.showsPlan(flags)) process.stderr.write(`${view.planText(plan, { diff: false })}\n`);
    await this.confirm(flags, { statement: `This overwrites ${plan.target.path}.`, facts: view.targetFacts(plan) });
    const result = await this.work(flags, (run) => executeClone(plan, run));
    this.show(flags, { plan: view.planDocument(plan), result }, cloneText(plan, result));
  }
}
