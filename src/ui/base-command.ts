/** What every command has in common: one result on stdout, progress on stderr, signals. */
import { Command, Flags } from '@oclif/core';
import { ignoreEvents, type OnEvent } from '../engine/events.ts';
import type { Question } from './confirm.ts';
import { writeOutput } from './output.ts';
import { type ProgressMode, progressModes, progressView } from './progress.ts';
import { interruption } from './signals.ts';
import { setTargetState, targetState } from './target-state.ts';

/** What a run gets from the command line around it. */
export interface Run {
  /** Aborted by Ctrl-C, SIGTERM and SIGHUP; its reason is an InterruptedError. */
  readonly signal: AbortSignal;
  readonly onEvent: OnEvent;
}

export interface CommonFlags {
  readonly json: boolean;
  readonly progress?: ProgressMode | undefined;
}

/** Flags of commands that take a while. */
export const progressFlag = {
  progress: Flags.option({
    options: progressModes,
    default: 'auto' as const,
    summary: 'How to show progress on stderr; auto: live on a terminal, plain lines elsewhere.',
    helpGroup: 'OUTPUT',
  })(),
};

/** The flag of commands that ask before they write. */
export const yesFlag = {
  yes: Flags.boolean({ char: 'y', summary: 'Do not ask. Needed where there is no terminal.' }),
};

export abstract class BaseCommand extends Command {
  static override readonly enableJsonFlag = false;
  static override readonly baseFlags = {
    json: Flags.boolean({ summary: 'Print the result as one JSON document.', helpGroup: 'OUTPUT' }),
  };

  /** Where the events of the work that is done now go. */
  #shown: OnEvent = ignoreEvents;

  /** For what is opened in one piece of work and used in others: its events go to whatever is shown then. */
  protected get lasting(): Run {
    return { signal: interruption(), onEvent: (event) => this.#shown(event) };
  }

  /** Does the work with progress shown and signals heeded, and passes on what it returns. */
  protected async work<T>(flags: CommonFlags, action: (run: Run) => Promise<T>): Promise<T> {
    const view = await progressView(flags.progress ?? 'auto');
    const onEvent: OnEvent = (event) => {
      if (event.type === 'target') setTargetState(event.name, event.state);
      view.onEvent(event);
    };
    this.#shown = onEvent;
    let outcome: 'done' | 'failed' = 'failed';
    try {
      const result = await action({ signal: interruption(), onEvent });
      outcome = 'done';
      return result;
    } finally {
      this.#shown = ignoreEvents;
      await view.end(outcome);
    }
  }

  /** Asks before something is overwritten; Ctrl-C and SIGTERM end the question and the program. */
  protected async confirm(flags: { readonly yes: boolean }, question: Question): Promise<void> {
    const { confirm } = await import('./confirm.ts');
    await confirm(question, { yes: flags.yes, signal: interruption() });
  }

  /** Whether a plan is shown on stderr: to whoever is asked, and to everybody whose stderr is no stream of JSON lines. */
  protected showsPlan(flags: CommonFlags & { readonly yes: boolean }): boolean {
    return !flags.yes || (!flags.json && flags.progress !== 'json');
  }

  /** Prints the result: with `--json` the document and the target's state, else the text, which ends in a newline. */
  protected show(flags: CommonFlags, document: object, text: string): void {
    writeOutput(flags.json ? `${JSON.stringify({ ...document, target: targetState() }, jsonValue, 2)}\n` : text);
  }
}

/** JSON knows neither bigint nor bytes. */
export function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
  return value;
}
