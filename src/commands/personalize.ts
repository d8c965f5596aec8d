import { Flags } from '@oclif/core';
import { ExitCode } from '../engine/errors.ts';
import { BaseCommand, progressFlag, yesFlag } from '../ui/base-command.ts';
import { targetArgument } from '../ui/flags.ts';

export default class Personalize extends BaseCommand {
  static override summary = 'Make the system on a target itself from its profile, without copying.';
  static override description = 'Does what a clone does last. Run again, it changes nothing.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> /dev/sdb --dry-run',
    '<%= config.bin %> <%= command.id %> /dev/sdb --yes',
  ];
  static override args = { target: targetArgument };
  static override flags = {
    ...yesFlag,
    'dry-run': Flags.boolean({ summary: 'Print the differences and stop.' }),
    'detailed-exitcode': Flags.boolean({
      dependsOn: ['dry-run'],
      summary: `With --dry-run: exit ${ExitCode.changesPending} when something would change.`,
    }),
    ...progressFlag,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Personalize);
    const [{ planPersonalize, executePersonalize }, { renderDiff, summarizeChanges }] = await Promise.all([
      import('../engine/duplicate/personalize.ts'),
      import('../engine/persona/render.ts'),
    ]);
    const plan = await planPersonalize(args.target);
    const { host } = plan.bundle.resolved;
    const { changes } = plan.persona;
    const notes = plan.notes.map((note) => `Note: ${note}\n`).join('');
    const document = { host, changes: summarizeChanges(changes), notes: plan.notes };
    if (changes.length === 0) return this.show(flags, document, `${notes}${args.target} is ${host} already.\n`);
    if (flags['dry-run']) {
      this.show(flags, document, `${renderDiff(changes)}${notes}Nothing was written.\n`);
      if (flags['detailed-exitcode']) this.exit(ExitCode.changesPending);
      return;
    }
    if (this.showsPlan(flags)) process.stderr.write(`${renderDiff(changes)}${notes}`);
    const now = plan.disk.system?.hostname ?? '(no host name)';
    await this.confirm(flags, {
      statement: `This changes ${changes.filter(({ after }) => after.type !== 'directory').length} files of ${now} on ${args.target}.`,
      facts: [['Becomes', host]],
    });
    const changed = await this.work(flags, (run) => executePersonalize(plan, run));
    this.show(flags, { ...document, filesChanged: changed }, `${args.target} is ${host} now: ${changed} files changed.\n`);
  }
}
