/** Commands that do what real ones do, for the tests of what is around commands. */
import { Args, Flags } from '@oclif/core';
import { CorruptInputError } from '../../src/engine/errors.ts';
import { BaseCommand, progressFlag, yesFlag } from '../../src/ui/base-command.ts';

/** Fences, then waits for a signal, fails, or ends well. */
class Work extends BaseCommand {
  static override args = {
    end: Args.string({ required: true, options: ['well', 'corrupt', 'bug', 'stray', 'wait', 'deaf'], ignoreStdin: true }),
  };
  static override flags = { ...progressFlag };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Work);
    const result = await this.work(flags, async ({ signal, onEvent }) => {
      onEvent({ type: 'phase', phase: 'fence', title: 'Fencing' });
      onEvent({ type: 'target', name: 'disk', state: 'fenced' });
      onEvent({ type: 'phase', phase: 'copy', title: 'Copying' });
      onEvent({ type: 'progress', phase: 'copy', done: 1, total: 4 });
      if (args.end === 'corrupt')
        throw new CorruptInputError('The source is broken.', { code: 'BROKEN', todo: 'Mend it.', data: { offset: 512 } });
      if (args.end === 'bug') throw new TypeError('surprise');
      if (args.end === 'stray') {
        Promise.reject(new RangeError('stray'));
        await new Promise((resolve) => setTimeout(resolve, 10_000));
      }
      if (args.end === 'wait' || args.end === 'deaf') await stopped(signal, args.end === 'deaf');
      onEvent({ type: 'warning', message: 'take care' });
      onEvent({ type: 'progress', phase: 'copy', done: 4, total: 4 });
      onEvent({ type: 'target', name: 'disk', state: 'committed' });
      return { bytes: 4, big: 5n };
    });
    this.show(flags, result, 'Four bytes.\n');
  }
}

/** Cleans up when the signal comes, unless it is deaf. */
async function stopped(signal: AbortSignal, deaf: boolean): Promise<void> {
  process.stderr.write('READY\n');
  await new Promise<void>((resolve) => {
    const alive = setInterval(() => undefined, 1000);
    signal.addEventListener('abort', () => {
      process.stderr.write('ASKED TO STOP\n');
      if (deaf) return;
      clearInterval(alive);
      resolve();
    });
  });
  process.stderr.write('CLEANED UP\n');
  signal.throwIfAborted();
}

class Ask extends BaseCommand {
  static override flags = { ...yesFlag };

  async run(): Promise<void> {
    const { flags } = await this.parse(Ask);
    // A clone asks after it has worked on its plan.
    await this.work({ ...flags, progress: 'none' }, async () => undefined);
    await this.confirm(flags, { statement: 'This overwrites disk.img.', facts: [['Host', 'web-07']] });
    this.show(flags, { confirmed: true }, 'Confirmed.\n');
  }
}

class Many extends BaseCommand {
  static override flags = { lines: Flags.integer({ default: 200_000 }) };

  async run(): Promise<void> {
    const { flags } = await this.parse(Many);
    this.show(flags, {}, 'line\n'.repeat(flags.lines));
  }
}

export const COMMANDS = { work: Work, ask: Ask, many: Many };
