/** What the tests of profiles share. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Diagnostic } from '../../../src/engine/profile/diagnostic.ts';
import { checkProfile, type LoadOptions, loadProfile } from '../../../src/engine/profile/load.ts';

/** A directory with these files, gone after `use`. */
export async function withFiles<T>(files: Readonly<Record<string, string>>, use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'doppel-profile-'));
  try {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(directory, name)), { recursive: true });
      await writeFile(join(directory, name), content);
    }
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export const head = 'apiVersion: doppel/v1\nhost: web-07\n';

export function check(text: string, options: LoadOptions & { base?: boolean } = {}): Promise<readonly Diagnostic[]> {
  return checkProfile({ file: 'web.yaml', text }, options);
}

export function load(text: string, options: LoadOptions = {}) {
  return loadProfile({ file: 'web.yaml', text }, options);
}

/** Takes the marks `§` out of a text and tells where they stood: [line, column] from 1. */
export function marks(text: string): { text: string; places: [number, number][] } {
  const places: [number, number][] = [];
  const lines = text.split('\n').map((line, index) => {
    let clean = line;
    for (let at = clean.indexOf('§'); at >= 0; at = clean.indexOf('§')) {
      places.push([index + 1, at + 1]);
      clean = clean.slice(0, at) + clean.slice(at + 1);
    }
    return clean;
  });
  return { text: lines.join('\n'), places };
}

/** The profile has exactly these diagnostics, each at the mark of its turn. */
export async function expectAt(
  marked: string,
  expected: readonly { code: string; path: string; message?: RegExp }[],
  options: LoadOptions = {},
) {
  const { text, places } = marks(marked);
  const found = await check(text, options);
  const shape = (d: Diagnostic) => `${d.code} ${d.path} ${d.line}:${d.column}`;
  const wanted = expected.map((e, i) => `${e.code} ${e.path} ${places[i]?.join(':')}`);
  assert.equal(found.map(shape), wanted, marked);
  for (const [index, { message }] of expected.entries()) {
    if (message !== undefined) assert.match(found[index]?.message ?? '', message);
  }
}

/** The error that `run` fails with, which must be of this class. */
export async function failure<E extends Error>(type: abstract new (...args: never[]) => E, run: () => unknown): Promise<E> {
  try {
    await run();
  } catch (error) {
    if (error instanceof type) return error;
    throw error;
  }
  throw new Error(`did not fail with ${type.name}`);
}
