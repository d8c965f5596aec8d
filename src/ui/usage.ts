/** What a person reads when the command line was not understood, made from what oclif says. */
import { stripVTControlCharacters } from 'node:util';

/** What went wrong, on one line, and what to do about it. */
export interface UsageMistake {
  readonly message: string;
  readonly todo: string;
}

const helpTodo = 'Add --help to see what the command takes.';
const listTodo = '"doppel help" lists the commands.';

/** `ids` are the commands that exist, words separated by `:`. */
export function usageMistake(error: Error, ids: readonly string[]): UsageMistake {
  const unknown = /^command (\S+) not found/i.exec(error.message)?.[1];
  if (unknown !== undefined) return unknownCommand(unknown.split(':'), ids);
  const message = oneLine(error.message);
  const flag = /^Nonexistent flags?: (?:--?)([^\s,=]+)/.exec(message)?.[1];
  const near = flag === undefined ? undefined : nearest(flag, flagsOf(error));
  return { message, todo: near === undefined ? helpTodo : `Did you mean --${near}? ${helpTodo}` };
}

/** oclif takes all words of a line that it does not know for the command's name, joined by colons. */
function unknownCommand(words: readonly string[], ids: readonly string[]): UsageMistake {
  const [first = '', second] = words;
  if (first.startsWith('-')) return { message: `${first} needs a command before it.`, todo: listTodo };
  const inTopic = (topic: string) => ids.filter((id) => id.startsWith(`${topic}:`)).map((id) => id.slice(topic.length + 1));
  const ofTopic = inTopic(first);
  const name = ofTopic.length > 0 && second !== undefined ? `${first} ${second}` : first;
  return { message: `there is no command \`doppel ${name}\`.`, todo: [suggestion(), listTodo].filter(Boolean).join(' ') };

  function suggestion(): string {
    const topic = ofTopic.length > 0 ? first : nearest(first, [...new Set(ids.map((id) => id.split(':')[0] ?? ''))]);
    if (topic === undefined) return '';
    const below = second === undefined ? undefined : nearest(second, inTopic(topic));
    if (ofTopic.length > 0 && below === undefined) return '';
    return `Did you mean "doppel ${[topic, below].filter(Boolean).join(' ')}"?`;
  }
}

/** Heading and list of oclif's message as one sentence. */
function oneLine(message: string): string {
  // What follows a blank line is about values of flags that may be repeated, and ours take one each time.
  const lines = stripVTControlCharacters(message)
    .split('\n\n', 1)
    .flatMap((part) => part.split('\n'))
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== 'See more help with --help');
  const [heading = '', ...rest] = /^The following errors? occurred:$/.test(lines[0] ?? '') ? lines.slice(1) : lines;
  return rest.length === 0 ? heading : `${heading} ${rest.join('; ')}`.replace(/\.$/, '').replaceAll('.; ', '; ');
}

/** oclif's parse errors carry the flags that the command knows. */
function flagsOf(error: Error): string[] {
  const { parse } = error as { parse?: { input?: { flags?: Record<string, unknown> } } };
  return Object.keys(parse?.input?.flags ?? {});
}

/** The word that is at most a third of its letters, or two, away from `word`. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const limit = (name: string) => Math.min(name.length - 1, Math.max(2, Math.floor(name.length / 3)));
  return known
    .map((name) => ({ name, distance: editDistance(word.slice(0, 64), name) }))
    .filter(({ name, distance }) => distance <= limit(name))
    .sort((a, b) => a.distance - b.distance)[0]?.name;
}

/** Letters to insert, remove or replace (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j++) {
      const replaced = (row[j] ?? 0) + (letter === to[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
