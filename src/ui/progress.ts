/** Shows the engine's events on stderr: as live tasks on a terminal, as plain lines in a pipe, as JSON lines, or not at all. */
import type { EngineEvent, OnEvent } from '../engine/events.ts';
import { formatBytes, formatDuration, formatPercent, formatRate, printable } from './format.ts';
import { style } from './style.ts';

export const progressModes = ['auto', 'plain', 'json', 'none'] as const;
export type ProgressMode = (typeof progressModes)[number];

/** One view of a run. `end` is to be called in any case, also after a failure; it is idempotent. */
export interface ProgressView {
  readonly onEvent: OnEvent;
  end(outcome: 'done' | 'failed'): Promise<void>;
}

/** Where views write; tests give their own. */
export interface ProgressOutput {
  write(text: string): unknown;
}

/** `auto`: tasks on a terminal, else plain lines. */
export async function progressView(mode: ProgressMode, output: ProgressOutput = process.stderr): Promise<ProgressView> {
  if (mode === 'json') return jsonProgress(output);
  if (mode === 'none') return silentProgress(output);
  if (mode === 'auto' && canDraw()) {
    const { taskProgress } = await import('./progress-tasks.ts');
    return taskProgress();
  }
  return plainProgress(output);
}

/** Some terminals say that they have no columns, or cannot move the cursor. */
function canDraw(): boolean {
  return process.stderr.isTTY === true && process.env.TERM !== 'dumb' && process.stderr.columns >= 20;
}

/** How fast the current phase goes. */
export class Meter {
  readonly #now: () => number;
  #started = 0;
  #first = 0;
  done = 0;
  total = 0;

  /** `now` gives milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.start();
  }

  start(): void {
    this.#started = this.#now();
    this.#first = -1;
    this.done = 0;
    this.total = 0;
  }

  update(done: number, total: number): void {
    // What a resumed run finds done already says nothing about the speed.
    if (this.#first < 0) this.#first = done;
    this.done = done;
    this.total = total;
  }

  /** Seconds since the phase began. */
  get elapsed(): number {
    return (this.#now() - this.#started) / 1000;
  }

  /** Bytes a second, 0 while unknown. */
  get rate(): number {
    return this.elapsed > 0 && this.#first >= 0 ? (this.done - this.#first) / this.elapsed : 0;
  }

  /** Seconds to go; undefined while unknown. */
  get left(): number | undefined {
    return this.elapsed < 1 || this.rate <= 0 ? undefined : (this.total - this.done) / this.rate;
  }

  /** `1.2 GiB of 4 GiB, 30 %, 212 MiB/s, 13 s left`; empty before the first progress. */
  text(): string {
    if (this.total <= 0) return '';
    const parts = [`${formatBytes(this.done)} of ${formatBytes(this.total)}`, formatPercent(this.done, this.total)];
    if (this.rate > 0) parts.push(formatRate(this.rate));
    if (this.left !== undefined && this.done < this.total) parts.push(`${formatDuration(this.left)} left`);
    return parts.join(', ');
  }

  /** After the phase: `4 GiB in 19 s, 212 MiB/s`. */
  summary(): string {
    const took = formatDuration(this.elapsed);
    return this.total > 0 ? `${formatBytes(this.done)} in ${took}, ${formatRate(this.rate)}` : took;
  }
}

/** Lines for logs: the start and end of each phase, and between them at most one every few seconds. */
export function plainProgress(
  output: ProgressOutput,
  options: { readonly everyMs?: number; readonly now?: () => number } = {},
): ProgressView {
  const every = options.everyMs ?? 5000;
  const now = options.now ?? (() => performance.now());
  const meter = new Meter(now);
  let title: string | undefined;
  let last = 0;
  const line = (text: string): void => void output.write(`${printable(text)}\n`);
  const finish = (outcome: 'done' | 'failed'): void => {
    if (title === undefined) return;
    line(`${title}: ${outcome === 'done' ? `done, ${meter.summary()}` : 'failed'}`);
    title = undefined;
  };
  return {
    onEvent(event) {
      if (event.type === 'phase') {
        finish('done');
        title = event.title;
        meter.start();
        last = now();
        line(`${title} ...`);
      } else if (event.type === 'progress') {
        meter.update(event.done, event.total);
        if (now() - last < every) return;
        last = now();
        line(`${title ?? event.phase}: ${meter.text()}`);
      } else if (event.type === 'note' || event.type === 'warning') {
        output.write(messageLine(event));
      }
    },
    async end(outcome) {
      finish(outcome);
    },
  };
}

/** Events as they are, one JSON object a line; progress at most five times a second, but always the last of a phase. */
export function jsonProgress(output: ProgressOutput, options: { readonly now?: () => number } = {}): ProgressView {
  const now = options.now ?? (() => performance.now());
  const meter = new Meter(now);
  let last = Number.NEGATIVE_INFINITY;
  let held: string | undefined;
  const line = (document: object): void => void output.write(`${JSON.stringify(document)}\n`);
  const flush = (): void => {
    if (held !== undefined) output.write(held);
    held = undefined;
  };
  return {
    onEvent(event) {
      if (event.type !== 'progress') {
        flush();
        last = Number.NEGATIVE_INFINITY;
        if (event.type === 'phase') meter.start();
        line(event);
        return;
      }
      meter.update(event.done, event.total);
      const text = `${JSON.stringify({ ...event, rate: Math.round(meter.rate) })}\n`;
      held = text;
      if (now() - last < 200) return;
      last = now();
      flush();
    },
    async end(outcome) {
      flush();
      line({ type: 'end', outcome });
    },
  };
}

/** Warnings must reach somebody even so. */
export function silentProgress(output: ProgressOutput): ProgressView {
  return {
    onEvent(event) {
      if (event.type === 'warning') output.write(messageLine(event));
    },
    async end() {},
  };
}

/** A note or warning as a line. */
export function messageLine(event: Extract<EngineEvent, { type: 'note' | 'warning' }>): string {
  const prefix = event.type === 'warning' ? style('yellow', 'Warning: ', 'stderr') : '';
  return `${prefix}${printable(event.message)}\n`;
}
