/** What `clone` and `restore` do: plan, ask, carry out, tell. */
import type { OpenArchive } from '../engine/archive/archive.ts';
import type { CopyRequest } from '../engine/duplicate/request.ts';
import { ExitCode } from '../engine/errors.ts';
import { BaseCommand } from './base-command.ts';
import { copyRequest, type ParsedFlags, targetRequests } from './clone-request.ts';
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
    const [{ planClones }, { executeClones }, view, results] = await Promise.all([
      import('../engine/duplicate/make-plan.ts'),
      import('../engine/duplicate/execute.ts'),
      import('./plan-view.ts'),
      import('./result-view.ts'),
    ]);
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
}
