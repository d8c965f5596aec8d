/** What a target is after a kill: not touched, fenced, or done. Judged by what other tools find, not by doppel alone. */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, statSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import * as assert from 'uvu/assert';
import { surveyDisk } from '../../src/engine/duplicate/disk.ts';
import { readStoredProfile } from '../../src/engine/duplicate/stored-profile.ts';
import { openSource } from '../../src/engine/image/open.ts';
import { findIncomplete } from '../../src/engine/layout/fence-table.ts';
import { readTable } from '../../src/engine/layout/table.ts';
import { incompletePartitionType, profilePartitionType } from '../../src/engine/layout/types.ts';
import { hashOf, loopsOn, tableOf } from '../engine/duplicate/disk-facts.ts';
import { eventuallyEmpty } from './kill-points.ts';
import { type EndState, endState, exists, type KillTarget, rawViewOf, type Scene, type Shape } from './kill-scenes.ts';

export type State = 'untouched' | 'fenced' | 'committed';

const hashes = new Map<string, string>();

/** Of files that do not change any more. */
function hashOnce(path: string, length?: number): string {
  const key = `${path} ${length}`;
  const hash = hashes.get(key) ?? hashOf(path, length === undefined ? undefined : { offset: 0, length });
  hashes.set(key, hash);
  return hash;
}

/** Room for a GPT at the end of a disk with sectors of 512 bytes. */
const backup = 33 * 512;

/** @throws AssertionError for a disk that is neither of the three, above all one that would boot half */
export async function stateOf(target: KillTarget, shape: Shape): Promise<State> {
  if (!exists(target.path)) {
    assert.is(target.before, undefined, 'the target is gone');
    return 'untouched';
  }
  const disk = rawViewOf(target.path);
  if (target.before === undefined ? isBlank(disk) : hashOf(disk) === hashOnce(target.before)) return 'untouched';
  const incomplete = await incompleteRun(disk);
  const end = statSync(disk).size - backup;
  // Between the two copies of the fence the old table still holds: that is untouched too, as nothing else was written.
  const only =
    target.before === undefined ? isBlank(disk, end) : hashOf(disk, { offset: 0, length: end }) === hashOnce(target.before, end);
  if (only) return incomplete === undefined ? 'untouched' : 'fenced';
  const table = entriesOf(dumpOf(disk));
  if (isDeepStrictEqual(table, entriesOf(target.wanted.table))) {
    // The real table comes last: from here on somebody may boot it.
    const found = endState(target.path, shape);
    assert.equal(found.same, target.wanted.same, 'the table stands before the parts are whole');
    assert.equal(found.files.map(paths), target.wanted.files.map(paths), 'the table stands before the files are there');
    return incomplete === undefined ? 'committed' : 'fenced';
  }
  assert.ok(incomplete, 'it has neither the old table, nor a fence, nor the new one');
  const kinds = table.map((line) => /type=\s*([\w-]+)/.exec(line)?.[1]?.toUpperCase() ?? '');
  for (const kind of kinds) assert.ok(['DA', incompletePartitionType, profilePartitionType].includes(kind), `${kind} in a fence`);
  return 'fenced';
}

function paths(files: ReadonlyMap<string, string>): string[] {
  return [...files.keys()];
}

/** Empty for a disk on which sfdisk finds no table: it does not look for a backup without a protective MBR. */
function dumpOf(disk: string): string {
  try {
    return tableOf(disk);
  } catch (error) {
    if (error instanceof Error && error.message.includes('does not contain a recognized partition table')) return '';
    throw error;
  }
}

/** Partitions as sfdisk finds them, but for profiles, whose ids are drawn. */
function entriesOf(dump: string): string[] {
  return dump.split('\n').filter((line) => line.includes('start=') && !line.includes(profilePartitionType));
}

function isBlank(disk: string, size = statSync(disk).size): boolean {
  const step = Buffer.alloc(1 << 20);
  const file = openSync(disk, 'r');
  try {
    for (let at = 0; at < size; at += step.length) {
      const length = readSync(file, step, 0, Math.min(step.length, size - at), at);
      if (step.subarray(0, length).some((byte) => byte !== 0)) return false;
    }
    return true;
  } finally {
    closeSync(file);
  }
}

async function incompleteRun(disk: string): Promise<string | undefined> {
  const { image } = await openSource(disk);
  try {
    const table = await readTable(image);
    return table && findIncomplete(table)?.runId;
  } finally {
    await image.close();
  }
}

/** @throws AssertionError when a byte of a protected region is another one than before */
export function checkRegions({ path, before, regions }: KillTarget): void {
  if (before === undefined) return;
  for (const region of regions) assert.is(hashOf(path, region), hashOf(before, region), `${region.name} changed`);
}

export function same(found: EndState, wanted: EndState, where: string, identity: 'same' | 'drawn'): void {
  assert.equal(found.same, wanted.same, `${where}: the parts that no tool touches`);
  if (identity === 'same') {
    assert.is(found.table, wanted.table, `${where}: the table`);
    assert.equal(found.files.map(lines), wanted.files.map(lines), `${where}: the files`);
  } else {
    assert.equal(entriesOf(found.table), entriesOf(wanted.table), `${where}: the table`);
    assert.equal(found.files.map(paths), wanted.files.map(paths), `${where}: the files`);
  }
}

function lines(files: ReadonlyMap<string, string>): string[] {
  return [...files].map(([path, about]) => `${path} ${about}`);
}

/** The identity that a target has got; undefined where there is none yet, or no disk. */
export async function storedIdentity(path: string): Promise<object | undefined> {
  if (!exists(path)) return undefined;
  const { image } = await openSource(rawViewOf(path));
  try {
    const { regions } = await surveyDisk(image);
    return (await readStoredProfile(image, regions))?.bundle;
  } finally {
    await image.close();
  }
}

/** Waits until all that the program has started and attached is gone. @throws when something still stands after ten seconds */
export async function nothingRuns({ folder, temp }: Scene): Promise<void> {
  await eventuallyEmpty(() => [...loopsOn(folder), ...processesIn(folder), ...mountsIn(temp)]);
}

/** Processes that were given a path in the folder, or work there. */
function processesIn(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) =>
      `${seen(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'))} ${seen(() => readlinkSync(`/proc/${pid}/cwd`))}`.includes(
        `${folder}/`,
      ),
    )
    .map((pid) => `process ${pid}`);
}

/** Processes end while we look, and some may not be looked at. */
function seen(look: () => string): string {
  try {
    return look();
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}

function mountsIn(folder: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(`${folder}/`));
}

/** What lies about in the folders that the program works in: of the temporary one everything, beside targets what nobody knows. */
export function litter({ folder, temp, stateDir }: Scene): string[] {
  const hidden = readdirSync(folder).filter((name) => name.startsWith('.'));
  const journals = exists(stateDir) ? readdirSync(stateDir) : [];
  return [...readdirSync(temp), ...hidden, ...journals];
}
