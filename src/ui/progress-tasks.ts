/** Progress on a terminal: one listr2 task a phase, with bytes, rate and time left. Loaded only when there is somebody to look. */
import { DefaultRenderer, Listr, ListrLogger, ProcessOutput } from 'listr2';
import { printable } from './format.ts';
import { Meter, messageLine, type ProgressView } from './progress.ts';

/** Draws on stderr, so that stdout keeps the result alone; listr2 itself only looks at stdout. */
class StderrRenderer extends DefaultRenderer {
  static override nonTTY = true as never;
}

interface Phase {
  readonly title: string;
  readonly meter: Meter;
  readonly ended: Promise<'done' | 'failed'>;
  readonly end: (outcome: 'done' | 'failed') => void;
  /** Notes and warnings, printed when the task has been drawn for the last time. */
  readonly messages: string[];
}

class PhaseFailed extends Error {}

export function taskProgress(): ProgressView {
  let current: Phase | undefined;
  let shown: Promise<void> = Promise.resolve();
  process.once('exit', showCursor);

  return {
    onEvent(event) {
      if (event.type === 'phase') {
        current?.end('done');
        const phase = newPhase(event.title);
        current = phase;
        shown = shown.then(() => show(phase));
      } else if (event.type === 'progress') {
        current?.meter.update(event.done, event.total);
      } else if (event.type === 'note' || event.type === 'warning') {
        if (current === undefined) process.stderr.write(messageLine(event));
        else current.messages.push(messageLine(event));
      }
    },
    async end(outcome) {
      current?.end(outcome);
      current = undefined;
      await shown;
      process.removeListener('exit', showCursor);
    },
  };
}

function newPhase(title: string): Phase {
  let end: Phase['end'] = () => undefined;
  const ended = new Promise<'done' | 'failed'>((resolve) => {
    end = resolve;
  });
  return { title: printable(title), meter: new Meter(), ended, end, messages: [] };
}

async function show(phase: Phase): Promise<void> {
  const tasks = new Listr(
    [
      {
        title: phase.title,
        task: async (_, task) => {
          const draw = (): void => {
            const text = phase.meter.text();
            if (text !== '') task.title = `${phase.title}: ${text}`;
          };
          const timer = setInterval(draw, 200);
          const outcome = await phase.ended;
          clearInterval(timer);
          task.title = `${phase.title}: ${phase.meter.summary()}`;
          if (outcome === 'failed') throw new PhaseFailed();
        },
      },
    ],
    {
      renderer: StderrRenderer,
      rendererOptions: {
        showErrorMessage: false,
        logger: new ListrLogger({
          useIcons: true,
          toStderr: [],
          processOutput: new ProcessOutput(process.stderr, process.stdout),
        }),
      },
      registerSignalListeners: false,
    },
  );
  try {
    await tasks.run();
  } catch (error) {
    if (!(error instanceof PhaseFailed)) throw error;
  }
  for (const message of phase.messages) process.stderr.write(message);
}

/** For an end in the middle of drawing. */
function showCursor(): void {
  process.stderr.write('\u001b[?25h');
}
