/** Colours, only where somebody sees them: a terminal, without NO_COLOR (https://no-color.org) and with TERM other than `dumb`. */
import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];
export type Stream = 'stdout' | 'stderr';

/** FORCE_COLOR with a value other than 0 turns them on in a pipe; NO_COLOR outranks it. */
export function colours(stream: Stream, environment: NodeJS.ProcessEnv = process.env): boolean {
  if (environment.NO_COLOR !== undefined && environment.NO_COLOR !== '') return false;
  if (environment.FORCE_COLOR !== undefined) return environment.FORCE_COLOR !== '0';
  return process[stream].isTTY === true && environment.TERM !== 'dumb';
}

/** `text` in that format if the stream shows colours. */
export function style(format: Format, text: string, stream: Stream = 'stdout'): string {
  return colours(stream) ? styleText(format, text) : text;
}
