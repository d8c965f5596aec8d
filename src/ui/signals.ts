/** Ctrl-C and SIGTERM: the engine is asked to stop and clean up, then the signal is raised again, so that a shell loop stops too. */
import { DoppelError, ExitCode } from '../engine/errors.ts';

const handled = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type HandledSignal = (typeof handled)[number];

/** Somebody stopped the run. The launcher raises the signal again: that decides how the process ends, not the exit code here. */
export class InterruptedError extends DoppelError {
  readonly exitCode = ExitCode.io;
  readonly signal: HandledSignal;

  /** `asked`: stopped at the question, so that nothing was begun. */
  constructor(signal: HandledSignal, asked = false) {
    super(asked ? 'Stopped; nothing was written.' : `Stopped by ${signal}.`, {
      code: 'INTERRUPTED',
      todo: asked ? '' : 'Run the same command again to finish it.',
      data: { signal },
    });
    this.signal = signal;
  }
}

const controller = new AbortController();
let received: HandledSignal | undefined;
let listening = false;

/** Aborted, with an `InterruptedError` as its reason, when the user stops the run. Until the first call signals just end the process. */
export function interruption(): AbortSignal {
  if (!listening) {
    listening = true;
    for (const name of handled) process.on(name, onSignal);
  }
  return controller.signal;
}

function onSignal(name: NodeJS.Signals): void {
  if (received !== undefined) {
    // Asked a second time: they do not want to wait for the clean-up.
    raise(name);
    return;
  }
  received = name as HandledSignal;
  controller.abort(new InterruptedError(received));
}

/** To be called last: ends the process by the signal that was received, if any. */
export function raiseAgain(): void {
  if (received !== undefined) raise(received);
}

function raise(name: NodeJS.Signals): void {
  process.removeAllListeners(name);
  process.kill(process.pid, name);
}
