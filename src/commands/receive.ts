import type { Message } from '../engine/duplicate/remote/protocol.ts';
import type { OnEvent } from '../engine/events.ts';
import { BaseCommand, jsonValue } from '../ui/base-command.ts';

export default class Receive extends BaseCommand {
  static override hidden = true;
  static override summary = 'Receive a machine through ssh: what "doppel clone SOURCE ssh://HOST/TARGET" starts on HOST.';

  async run(): Promise<void> {
    await this.parse(Receive);
    const [{ receive }, { PROTOCOL }, { executeClones }, plans, results, { errorDocument, exitCodeOf }, { targetState }] =
      await Promise.all([
        import('../engine/duplicate/remote/receive.ts'),
        import('../engine/duplicate/remote/protocol.ts'),
        import('../engine/duplicate/execute.ts'),
        import('../ui/plan-view.ts'),
        import('../ui/result-view.ts'),
        import('../ui/errors.ts'),
        import('../ui/target-state.ts'),
      ]);
    // When nobody listens any more, what is read ends as well, and that ends the run as it should.
    process.stdout.removeAllListeners('error').on('error', () => {});
    const say = (message: Message): void => void process.stdout.write(`${JSON.stringify(message, jsonValue)}\n`);
    say({ type: 'hello', protocol: PROTOCOL, version: this.config.version });
    try {
      await this.work({ json: true, progress: 'none' }, async ({ signal, onEvent }) => {
        const tell: OnEvent = (event) => {
          if (event.type === 'target') onEvent(event);
          say({ type: 'event', event });
        };
        const { archive, plan, have } = await receive(process.stdin, { signal, onEvent: tell });
        try {
          const [document, text] = [plans.planDocument(plan), plans.planText(plan, { diff: false })];
          say({ type: 'plan', document, text, facts: plans.targetFacts(plan), have: [...have] });
          await archive.arrive();
          const outcomes = await executeClones([plan], { signal, onEvent: tell });
          const [only] = outcomes;
          if (only !== undefined && 'error' in only) throw only.error;
          const exitCode = results.cloneExitCode(outcomes);
          say({ type: 'result', document: results.cloneDocument(outcomes), text: results.cloneTexts(outcomes), exitCode });
        } finally {
          await archive.close();
        }
      });
    } catch (error) {
      say({ type: 'error', ...errorDocument(error, targetState()) });
      this.exit(exitCodeOf(error));
    }
  }
}
