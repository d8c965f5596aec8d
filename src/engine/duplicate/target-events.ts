/** What a run tells about one target; of several, phases say whose they are. */
import type { OnEvent, TargetState } from '../events.ts';

export class TargetEvents {
  readonly #path: string;
  readonly #whose: string;
  readonly #onEvent: OnEvent;

  constructor(path: string, several: boolean, onEvent: OnEvent) {
    this.#path = path;
    this.#whose = several ? `${path}: ` : '';
    this.#onEvent = onEvent;
  }

  phase(phase: string, title: string): void {
    this.#onEvent({ type: 'phase', phase, title: `${this.#whose}${title}` });
  }

  /** Bytes. */
  progress(phase: string, done: number, total: number): void {
    this.#onEvent({ type: 'progress', phase, done, total });
  }

  state(state: TargetState): void {
    this.#onEvent({ type: 'target', name: this.#path, state });
  }

  warning(message: string): void {
    this.#onEvent({ type: 'warning', message });
  }
}
