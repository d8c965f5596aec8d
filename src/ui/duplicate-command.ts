/** What `clone` and `restore` do: plan, ask, carry out, tell. */
import type { OpenArchive } from '../engine/archive/archive.ts';
import { isSshTarget, parseSshTarget } from '../engine/duplicate/remote/address.ts';
import type { CopyRequest, TargetRequest } from '../engine/duplicate/request.ts';
import { ExitCode, UsageError } from '../engine/errors.ts';
import { BaseCommand } from './base-command.ts';
import { copyRequest, type ParsedFlags, targetRequests } from './clone-request.ts';
import { keepPrivate } from './private.ts';
import { interruption } from './signals.ts';
import { setTargetState } from './target-state.ts';

interface RunFlags extends ParsedFlags {
  readonly yes: boolean;
  readonly json: boolean;
  readonly progress?: 'auto' | 'plain' | 'json' | 'none' | undefined;
  readonly 'dry-run': boolean;
  readonly 'detailed-exitcode': boolean;
}

export abstract class DuplicateCommand extends BaseCommand {
  /** `archive` is the source, where that is one, and is closed. */
  protected async duplicate(
    { source, archive }: { readonly source: string; readonly archive?: OpenArchive | undefined },
    target: string | undefined,
    flags: RunFlags,
  ): Promise<void> {
    try {
      await this.#duplicate({ ...copyRequest(source, flags), ...(archive === undefined ? {} : { archive }) }, target, flags);
    } finally {
      await archive?.close();
    }
  }

  async #duplicate(request: CopyRequest, target: string | undefined, flags: RunFlags): Promise<void> {
    const remote = remoteTarget(target, flags.to ?? []);
    if (remote !== undefined) return this.#duplicateBySsh(request, remote, flags);
    const [{ planClones }, { executeClones }, view, results] = await Promise.all([
      import('../engine/duplicate/make-plan.ts'),
      import('../engine/duplicate/execute.ts'),
      import('./plan-view.ts'),
      import('./result-view.ts'),
    ]);
    // Of targets that are made.
    keepPrivate(request.source);
    const targets = targetRequests(target, flags);
    const plans = await this.work(flags, ({ onEvent, signal }) => planClones(request, targets, { onEvent, signal }));
    for (const plan of plans) setTargetState(plan.target.path, 'untouched');
    if (flags['dry-run']) {
      this.show(flags, view.planDocuments(plans), `${view.planTexts(plans, { diff: true })}\nNothing was written.\n`);
      if (flags['detailed-exitcode']) this.exit(ExitCode.changesPending);
      return;
    }
    if (this.showsPlan(flags)) process.stderr.write(`${view.planTexts(plans, { diff: false })}\n`);
    await this.confirm(flags, {
      statement: `This overwrites ${plans.map((plan) => plan.target.path).join(', ')}.`,
      facts: plans.flatMap(view.targetFacts),
    });
    const outcomes = await this.work(flags, (run) => executeClones(plans, run));
    const [only] = outcomes;
    if (outcomes.length === 1 && only !== undefined && 'error' in only) throw only.error;
    this.show(flags, results.cloneDocument(outcomes), results.cloneTexts(outcomes));
    const exitCode = results.cloneExitCode(outcomes);
    if (exitCode !== ExitCode.done) this.exit(exitCode);
  }

  async #duplicateBySsh(request: CopyRequest, target: string, flags: RunFlags): Promise<void> {
    const [{ planCapture }, { RemoteTarget }, { SshConnection }, { Zstd }, remotely, { described, lostText }] = await Promise.all(
      [
        import('../engine/duplicate/capture-plan.ts'),
        import('../engine/duplicate/remote/send.ts'),
        import('../engine/duplicate/remote/ssh.ts'),
        import('../engine/archive/zstd.ts'),
        import('./remote-duplicate.ts'),
        import('./capture-view.ts'),
      ],
    );
    const where = parseSshTarget(target);
    const [wanted] = targetRequests(target, flags) as [TargetRequest];
    const here = remotely.captureRequest(request);
    const there = await remotely.receiveRequest(where.path, request, wanted);
    const connection = new SshConnection(where, { ssh: flags.ssh, remoteCommand: flags['remote-command'] });
    const on = `On ${where.host}:\n`;
    try {
      // Before anything moves on the screen: ssh may ask for a password there.
      await RemoteTarget.greet(connection, interruption());
      const remote = await this.work(flags, async (run) => {
        const capture = await planCapture(here, run);
        for (const message of capture.warnings) run.onEvent({ type: 'warning', message });
        const options = { zstd: Zstd.usual(), level: BY_SSH, ...described(capture) };
        return RemoteTarget.ask(connection, there, capture, options, run);
      });
      const { document, text, facts } = remote.plan;
      setTargetState(target, 'untouched');
      if (flags['dry-run']) {
        this.show(flags, { host: where.host, plan: document }, `${on}${text}\nNothing was written.\n`);
        if (flags['detailed-exitcode']) this.exit(ExitCode.changesPending);
        return;
      }
      if (this.showsPlan(flags)) process.stderr.write(`${on}${text}\n`);
      await this.confirm(flags, { statement: `This overwrites ${where.path} on ${where.host}.`, facts });
      const result = await this.work(flags, ({ signal, onEvent }) =>
        remote.send({ signal, onEvent: (event) => onEvent(event.type === 'target' ? { ...event, name: target } : event) }),
      );
      const { document: done, text: told, exitCode, unreadable } = result;
      this.show(flags, { host: where.host, ...done, unreadable }, `${lostText(request.source, unreadable)}${on}${told}`);
      if (exitCode !== ExitCode.done) this.exit(exitCode);
      if (unreadable.length > 0) this.exit(ExitCode.io);
    } finally {
      await connection.close();
    }
  }
}

/** How hard to compress what goes through ssh: a network is quicker than a disk is large. */
const BY_SSH = 1;

/** @throws UsageError for more than one target when there is such a one */
function remoteTarget(target: string | undefined, to: readonly string[]): string | undefined {
  const named = [...(target === undefined ? [] : [target]), ...to];
  const remote = named.find(isSshTarget);
  if (remote === undefined || (named.length === 1 && remote === target)) return remote;
  throw new UsageError('a target behind ssh is the only one of its command', {
    code: 'ONE_SSH_TARGET',
    todo: 'Run one command for each, or capture the source into an archive first.',
    data: { targets: named },
  });
}
