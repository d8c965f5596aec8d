/** Kills a clone at many points and holds each to the promise: region intact, target untouched, fenced or done, and finished by the same command. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as assert from 'uvu/assert';
import { openSource } from '../../src/engine/image/open.ts';
import { findIncomplete } from '../../src/engine/layout/fence-table.ts';
import { readTable } from '../../src/engine/layout/table.ts';
import { checkFileSystem, checkGpt, filesOf, hashOf, loopsOn, tableOf } from '../engine/duplicate/disk-facts.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, profileFile, smallSize, tool } from '../engine/duplicate/small-disk.ts';
import { tempDir } from '../fixtures/temp.ts';
import { chosen, eventuallyEmpty, type KillPoint, killPointsOf, runUntil } from './kill-points.ts';
import { doppel, doppelOk } from './run-doppel.ts';

/** Of the default profile partition. */
export const region = { offset: 32_768, length: 1_015_808 };

export type State = 'untouched' | 'fenced' | 'committed';

export interface Scene {
  readonly folder: string;
  /** Words of the command; it works on target.img. */
  readonly command: readonly string[];
  readonly target: string;
  /** The target before every run. */
  readonly before: string;
  readonly points: readonly KillPoint[];
  /** What the target is after a run that nobody disturbed. */
  readonly wanted: EndState;
}

export interface EndState {
  readonly table: string;
  readonly parts: Readonly<Record<string, string>>;
  readonly files: ReadonlyMap<string, string>;
}

export function endState(disk: string): EndState {
  return {
    table: tableOf(disk),
    parts: { esp: hashOf(disk, parts.esp), swap: hashOf(disk, parts.swap), app: hashOf(disk, parts.app) },
    files: filesOf(disk, parts.root),
  };
}

/** A target that has a profile, and another system of old. */
export async function sceneWithProfile(): Promise<Scene> {
  const folder = tempDir('killed');
  const before = join(folder, 'before.img');
  newFile(before, smallSize);
  await doppelOk('profile', 'init', before, '--yes');
  await doppelOk('profile', 'write', before, profileFile(folder), '--yes');
  tool('sgdisk', ['--new=1:4M:+40M', '--change-name=1:old', before]);
  tool('mkfs.ext4', ['-q', '-F', '-E', `offset=${4 * MiB}`, before, '40M']);
  return scene(folder, before, []);
}

/** A blank target that gets its region and its profile from the run itself. */
export async function sceneBlank(): Promise<Scene> {
  const folder = tempDir('killed');
  const before = join(folder, 'before.img');
  newFile(before, smallSize);
  return scene(folder, before, ['--as', profileFile(folder)]);
}

async function scene(folder: string, before: string, words: readonly string[]): Promise<Scene> {
  const source = join(folder, 'source.img');
  const target = join(folder, 'target.img');
  await makeSmallDisk(source);
  const command = ['clone', source, target, '--yes', '--progress', 'json', ...words];
  copyDisk(before, target);
  const points = await killPointsOf(command);
  return { folder, command, target, before, points, wanted: endState(target) };
}

/** Between the backup and the primary of the fence the old table still holds: that is untouched too, as nothing else was written. */
export async function stateOf(disk: string, before: string): Promise<State> {
  if (hashOf(disk) === hashOf(before)) return 'untouched';
  const [old, table] = [await readTableOf(before), await readTableOf(disk)];
  assert.ok(table, 'there is a table at every instant');
  if (findIncomplete(table) !== undefined) return 'fenced';
  const end = 34 * 512;
  const inner = { offset: 0, length: smallSize - end };
  if (!isDeepStrictEqual(table.entries, old?.entries)) return 'committed';
  assert.is(hashOf(disk, inner), hashOf(before, inner), 'nothing but the backup table was written');
  return 'untouched';
}

async function readTableOf(disk: string) {
  const { image } = await openSource(disk);
  try {
    return await readTable(image);
  } finally {
    await image.close();
  }
}

export interface Outcome {
  readonly point: KillPoint;
  readonly state: State;
  /** The last one that was announced; `finish` after a commit. */
  readonly phase: string;
}

/** Kills at that point, looks, and finishes with the same command. */
export async function killAndFinish(scene: Scene, point: KillPoint, sameIdentity: boolean): Promise<Outcome> {
  const { command, target, before, wanted } = scene;
  copyDisk(before, target);
  const where = `killed at ${point.call} ${point.count} in ${point.phase}`;
  const { signal, stderr } = await runUntil(point, 'SIGKILL', command);
  // Close to its end a run may be done before it makes that many calls.
  if (signal !== 'SIGKILL') assert.is(lastPhase(stderr), 'commit', `${where}: ${stderr}`);
  await eventuallyEmpty(() => loopsOn(scene.folder));
  const state = await stateOf(target, before);
  if (sameIdentity) assert.is(hashOf(target, region), hashOf(before, region), `${where}: the region changed`);
  const drawn = await storedIdentity(target);

  const again = await doppel(...command);
  assert.is(again.exitCode, 0, `${where}, state ${state}: ${again.stderr}`);
  checkGpt(target);
  checkFileSystem(target, parts.root, 'ext4');
  checkFileSystem(target, parts.app, 'ext4');
  const found = endState(target);
  assert.equal(found.parts, wanted.parts, `${where}: the parts that no persona touches`);
  if (sameIdentity) {
    assert.is(hashOf(target, region), hashOf(before, region), `${where}: the region changed in the second run`);
    assert.is(found.table, wanted.table, `${where}: the table`);
    assert.equal([...found.files], [...wanted.files], `${where}: the files of the system`);
  } else {
    assert.equal([...found.files.keys()], [...wanted.files.keys()], `${where}: the files of the system`);
    if (drawn !== undefined) assert.equal(await storedIdentity(target), drawn, `${where}: another identity was drawn`);
  }
  assert.equal(loopsOn(scene.folder), []);
  return { point, state, phase: lastPhase(stderr) };
}

/** Machine id and target id of the profile in the region, as `inspect` tells them; undefined where there is none yet. */
async function storedIdentity(disk: string): Promise<object | undefined> {
  const { exitCode, stdout } = await doppel('profile', 'show', disk, '--json');
  if (exitCode !== 0) return undefined;
  const { target: _, ...shown } = JSON.parse(stdout);
  return shown;
}

function lastPhase(stderr: string): string {
  const phases = [...stderr.matchAll(/"type":"phase","phase":"(\w+)"/g)].map(([, phase]) => phase as string);
  return phases.at(-1) ?? 'start';
}

/** Kills at the chosen points, one after another. */
export async function sweep(
  scene: Scene,
  options: { readonly share: number; readonly shares: number; readonly sameIdentity: boolean },
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const point of chosen(scene.points, options.share, options.shares)) {
    outcomes.push(await killAndFinish(scene, point, options.sameIdentity));
  }
  if (process.env.KILL_POINTS !== undefined) console.log(summary(outcomes));
  return outcomes;
}

function summary(outcomes: readonly Outcome[]): string {
  const counts = new Map<string, number>();
  for (const { phase, state } of outcomes) counts.set(`${phase}: ${state}`, (counts.get(`${phase}: ${state}`) ?? 0) + 1);
  return [...counts].map(([key, count]) => `${key} ${count}`).join(', ');
}
