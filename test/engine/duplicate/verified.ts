/** Comparisons by way of the engine, with the wishes that a clone was made with, and ways to spoil a disk a little. */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { type VerifyRequest, type VerifyResult, verifyClone } from '../../../src/engine/duplicate/verify.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { needRoot } from '../../fixtures/privilege.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { requestOf, type Wishes } from './requests.ts';
import { makeSmallDisk, newFile, smallSize } from './small-disk.ts';

export interface Compared {
  readonly folder: string;
  /** The path of a small disk, made before the first test. */
  readonly source: string;
  at(name: string): string;
  /** A new disk of zeros. */
  blank(name: string, size?: number): string;
}

/** What the tests of a suite that compares small disks begin with. */
export function compareSmallDisks(test: Pick<Test, 'before'>, name: string): Compared {
  needRoot();
  const folder = tempDir(name);
  const at = (file: string): string => join(folder, file);
  const source = at('source.img');
  test.before(() => makeSmallDisk(source));
  return {
    folder,
    source,
    at,
    blank(file, size = smallSize) {
      newFile(at(file), size);
      return at(file);
    },
  };
}

/** Compares `target` with what `clone` makes of `source` with the same wishes. */
export function verified(source: string, target: string, wishes: Wishes = {}): Promise<VerifyResult> {
  const { identity, kinds, kindOverrides, exact, grow, newGuids, readErrors, sourceMap } = requestOf(source, target, wishes);
  const { choice, file, profiles } = identity;
  const request: VerifyRequest = {
    source,
    target,
    as: choice,
    profiles,
    kinds,
    kindOverrides,
    exact,
    ...(file === undefined ? {} : { file }),
    ...(grow === undefined ? {} : { grow }),
    ...(newGuids === undefined ? {} : { newGuids }),
    ...(readErrors === undefined ? {} : { readErrors }),
    ...(sourceMap === undefined ? {} : { sourceMap }),
  };
  return verifyClone(request);
}

export function assertEqual(result: VerifyResult): void {
  const told = JSON.stringify(result, (_, value) => (typeof value === 'bigint' ? String(value) : value), 1);
  assert.ok(result.equal, told);
  assert.ok(result.parts.length > 0 && result.parts.every(({ method }) => method !== 'skipped'), told);
}

/** Which parts differ, and only they. */
export function differing(result: VerifyResult): number[] {
  assert.not(result.equal);
  return result.parts.filter(({ equal }) => !equal).map(({ number }) => number);
}

export function part(result: VerifyResult, number: number): VerifyResult['parts'][number] {
  const found = result.parts.find((each) => each.number === number);
  if (found === undefined) throw new Error(`part ${number} was not compared`);
  return found;
}

export function messages(result: VerifyResult): string[] {
  return result.differences.map(({ message }) => message);
}

/** Where a text first stands behind `from`; bytes. */
export function placeOf(disk: string, text: string, from: number): number {
  const found = readFileSync(disk).indexOf(text, from);
  if (found < 0) throw new Error(`${text} is not on ${disk}`);
  return found;
}

/** Flips all bits of one byte; doing it again undoes it. */
export function flipByte(path: string, offset: number): void {
  const file = openSync(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    if (readSync(file, byte, 0, 1, offset) !== 1) throw new Error(`${path} ends before byte ${offset}`);
    byte[0] = (byte[0] as number) ^ 0xff;
    writeSync(file, byte, 0, 1, offset);
  } finally {
    closeSync(file);
  }
}

/** Mounts a part of a disk read-write for a moment. */
export function edit(
  disk: string,
  range: { readonly offset: number; readonly length: number },
  change: (root: string) => void,
  type: 'ext4' | 'xfs' | 'btrfs' = 'ext4',
): void {
  const loop = attachLoop(disk, { offset: range.offset, size: range.length });
  try {
    const mounted = mount(loop.device, type, type === 'xfs' ? 'rw,nouuid' : 'rw');
    try {
      change(mounted.path);
    } finally {
      mounted.unmount();
    }
  } finally {
    loop.detach();
  }
}
