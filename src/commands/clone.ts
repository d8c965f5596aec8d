import { Args } from '@oclif/core';
import { ExitCode } from '../engine/errors.ts';
import { BaseCommand, progressFlag, yesFlag } from '../ui/base-command.ts';
import { cloneFlags, copyRequest, targetRequests } from '../ui/clone-request.ts';
import { sourceArgument } from '../ui/flags.ts';
import { setTargetState } from '../ui/target-state.ts';

export default class Clone extends BaseCommand {
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
    const [{ planClones }, { executeClones }, view, results] = await Promise.all([
      import('../engine/duplicate/make-plan.ts'),
      import('../engine/duplicate/execute.ts'),
      import('../ui/plan-view.ts'),
      import('../ui/result-view.ts'),
    ]);
    const targets = targetRequests(args.target, flags);
    const request = copyRequest(args.source, flags);
    const plans = await this.work(flags, ({ onEvent, signal }) => planClones(request, targets, { onEvent, signal }));
    for (const { target } of plans) setTargetState(target.path, 'untouched');
    if (flags['dry-run']) {
      this.show(flags, view.planDocuments(plans), `${view.planTexts(plans, { diff: true })}\nNothing was written.\n`);
      if (flags['detailed-exitcode']) this.exit(ExitCode.changesPending);
      return;
    }
    if (this.showsPlan(flags)) process.stderr.write(`${view.planTexts(plans, { diff: false })}\n`);
    await this.confirm(flags, {
      statement: `This overwrites ${plans.map(({ target }) => target.path).join(', ')}.`,
      facts: plans.flatMap(view.targetFacts),
    });
    const outcomes = await this.work(flags, (run) => executeClones(plans, run));
    const [only] = outcomes;
    if (outcomes.length === 1 && only !== undefined && 'error' in only) throw only.error;
    this.show(flags, results.cloneDocument(outcomes), results.cloneTexts(outcomes));
    const exitCode = results.cloneExitCode(outcomes);
    if (exitCode !== ExitCode.done) this.exit(exitCode);
  }
}
