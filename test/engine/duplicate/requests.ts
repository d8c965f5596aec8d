/** Clones by way of the engine, and what is needed around them. */
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { executeInit, planInit } from '../../../src/engine/duplicate/init-profile.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import type { ClonePlan } from '../../../src/engine/duplicate/plan.ts';
import type { CloneRequest } from '../../../src/engine/duplicate/request.ts';
import type { CloneResult } from '../../../src/engine/duplicate/result.ts';
import { executeWriteProfile, planWriteProfile } from '../../../src/engine/duplicate/write-profile.ts';
import { DoppelError } from '../../../src/engine/errors.ts';
import type { RunOptions } from '../../../src/engine/events.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { copyDisk, newFile, profileFile, smallSize } from './small-disk.ts';

export type Wishes = Partial<Omit<CloneRequest, 'source' | 'target' | 'identity'>> & {
  /** As of `--as`; default target. */
  readonly as?: string;
  readonly replaceProfile?: boolean;
};

export function requestOf(source: string, target: string, wishes: Wishes = {}): CloneRequest {
  const { as = 'target', replaceProfile = false, ...rest } = wishes;
  const choice = as === 'target' || as === 'source' || as === 'none' ? as : 'file';
  return {
    source,
    target,
    identity: { choice, profiles: [], replaceProfile, ...(choice === 'file' ? { file: as } : {}) },
    kinds: {},
    kindOverrides: new Map(),
    unused: 'skip',
    exact: false,
    verify: true,
    allowInconsistent: false,
    expect: [],
    ...rest,
  };
}

export interface Cloned {
  readonly plan: ClonePlan;
  readonly result: CloneResult;
}

export async function clone(source: string, target: string, wishes: Wishes = {}, options: RunOptions = {}): Promise<Cloned> {
  const plan = await planClone(requestOf(source, target, wishes));
  return { plan, result: await executeClone(plan, options) };
}

/** Gives a target a region with the profile; answers the region. */
export async function giveProfile(target: string, file: string): Promise<Region> {
  const { region } = await initRegion(target);
  await writeProfile(target, file);
  return region;
}

export async function initRegion(target: string): Promise<{ readonly region: Region }> {
  const plan = await planInit(target);
  await executeInit(plan);
  return plan;
}

export async function writeProfile(target: string, file: string): Promise<void> {
  const request = { target, file, profiles: [], regenerate: false, replaceProfile: false };
  await executeWriteProfile(await planWriteProfile(request));
}

let blankWithProfile: string | undefined;

/** A blank disk with the demo's profile in its region, at that path. Made once in a process, then copied. */
export async function targetWithProfile(folder: string, name = 'target.img'): Promise<string> {
  if (blankWithProfile === undefined) {
    const path = join(folder, 'blank-with-profile.img');
    newFile(path, smallSize);
    await giveProfile(path, profileFile(folder));
    blankWithProfile = path;
  }
  const target = join(folder, name);
  copyDisk(blankWithProfile, target);
  return target;
}

/** The error of something that must be refused; what else is thrown comes through. */
export async function refusal(action: () => Promise<unknown>): Promise<DoppelError> {
  try {
    await action();
  } catch (error) {
    if (error instanceof DoppelError) {
      assert.ok(error.todo.length > 10, `${error.code} says what to do`);
      return error;
    }
    throw error;
  }
  throw new assert.Assertion({
    message: 'it was not refused',
    details: '',
    generated: false,
    operator: 'refusal',
    expects: '',
    actual: '',
  });
}
