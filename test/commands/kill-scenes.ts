/** What is killed: a command, the disks that it works on, and what they are after a run that nobody disturbed. */
import { existsSync, mkdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { openSource } from '../../src/engine/image/open.ts';
import { readTable } from '../../src/engine/layout/table.ts';
import { findRegions } from '../../src/engine/profile/carriers/find.ts';
import type { Region } from '../../src/engine/protect/region.ts';
import { bytesOf, checkFileSystem, filesOf, hashOf, tableOf } from '../engine/duplicate/disk-facts.ts';
import {
  copyDisk,
  MiB,
  makeSmallDisk,
  newFile,
  parts,
  profileFile,
  smallSize,
  tool,
  writeInto,
} from '../engine/duplicate/small-disk.ts';
import { tempDir } from '../fixtures/temp.ts';
import { type KillPoint, killPointsOf, type Place } from './kill-points.ts';
import { doppelOk } from './run-doppel.ts';

interface Range {
  readonly offset: number;
  readonly length: number;
}

export interface KillTarget {
  readonly path: string;
  /** What it is before every run; undefined: it does not exist. */
  readonly before: string | undefined;
  /** The protected regions that it has before. */
  readonly regions: readonly Region[];
  readonly wanted: EndState;
}

export interface Scene extends Place {
  readonly name: string;
  readonly folder: string;
  readonly stateDir: string;
  /** Words of the command. */
  readonly command: readonly string[];
  readonly points: readonly KillPoint[];
  readonly targets: readonly KillTarget[];
  readonly shape: Shape;
}

/** What is looked at when a target is done. */
export interface Shape {
  /** Ranges that no tool of a file system touches on the target: they are the source's, byte for byte. */
  readonly same: readonly Range[];
  /** ext4 whose files are compared. */
  readonly files: readonly Range[];
}

export interface EndState {
  readonly table: string;
  readonly same: readonly string[];
  readonly files: readonly ReadonlyMap<string, string>[];
}

export const plainShape: Shape = { same: [parts.esp, parts.swap, parts.app], files: [parts.root] };

/** The disk in a target as a raw file: itself, or what QEMU makes of it. */
export function rawViewOf(path: string): string {
  if (!path.endsWith('.qcow2')) return path;
  const raw = `${path}.raw`;
  tool('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, raw]);
  return raw;
}

/** @throws when a file system is damaged */
export function endState(path: string, { same, files }: Shape): EndState {
  const disk = rawViewOf(path);
  for (const range of files) checkFileSystem(disk, range, 'ext4');
  return {
    table: tableOf(disk),
    same: same.map((range) => hashOf(disk, range)),
    files: files.map((range) => filesOf(disk, range)),
  };
}

export interface Setting {
  readonly folder: string;
  readonly source: string;
  readonly words: readonly string[];
  /** Names of the targets with what they are before. */
  readonly targets: readonly { readonly name: string; readonly before?: string }[];
  readonly shape?: Shape;
}

async function scene(name: string, { folder, source, words, targets, shape = plainShape }: Setting): Promise<Scene> {
  const temp = join(folder, 'tmp');
  const stateDir = join(folder, 'state');
  mkdirSync(temp);
  const paths = targets.map((target) => join(folder, target.name));
  const to = paths.length === 1 ? paths : paths.flatMap((path) => ['--to', path]);
  const command = ['clone', source, ...to, '--yes', '--progress', 'json', '--state-dir', stateDir, ...words];
  for (const [index, { before }] of targets.entries()) reset(paths[index] as string, before);
  const points = await killPointsOf(command, { temp });
  const described: KillTarget[] = [];
  for (const [index, { before }] of targets.entries()) {
    const path = paths[index] as string;
    const regions = before === undefined ? [] : await regionsOf(before);
    described.push({ path, before, regions, wanted: endState(path, shape) });
  }
  return { name, folder, temp, stateDir, command, points, targets: described, shape };
}

export function reset(path: string, before: string | undefined): void {
  rmSync(path, { force: true });
  if (before !== undefined) copyDisk(before, path);
}

async function regionsOf(disk: string): Promise<Region[]> {
  const { image } = await openSource(disk);
  try {
    return await findRegions(image, await readTable(image));
  } finally {
    await image.close();
  }
}

interface Stage {
  readonly folder: string;
  readonly source: string;
  readonly at: (name: string) => string;
}

async function stage(): Promise<Stage> {
  const folder = tempDir('killed');
  const source = join(folder, 'source.img');
  await makeSmallDisk(source);
  return { folder, source, at: (name) => join(folder, name) };
}

/** A disk with a profile, and another system of old. */
async function knownDisk(path: string, folder: string, host = 'web-07', size = smallSize): Promise<string> {
  newFile(path, size);
  await doppelOk('profile', 'init', path, '--yes');
  const profile = profileFile(folder, (text) => text.replace(/^host: .*$/m, `host: ${host}`), `${host}.yaml`);
  await doppelOk('profile', 'write', path, profile, '--yes');
  tool('sgdisk', ['--new=1:4M:+40M', '--change-name=1:old', path]);
  tool('mkfs.ext4', ['-q', '-F', '-E', `offset=${4 * MiB}`, path, '40M']);
  return path;
}

const scenes = {
  /** A target that has a profile, and another system of old. */
  known: async () => {
    const { folder, source, at } = await stage();
    const before = await knownDisk(at('before.img'), folder);
    return { folder, source, words: [], targets: [{ name: 'target.img', before }] };
  },
  /** A blank target that gets its region and its profile from the run itself. */
  blank: async () => {
    const { folder, source, at } = await stage();
    newFile(at('before.img'), smallSize);
    return { folder, source, words: ['--as', profileFile(folder)], targets: [{ name: 'target.img', before: at('before.img') }] };
  },
  /** A target that holds an older state of the source. */
  delta: async () => {
    const { folder, source, at } = await stage();
    const before = await knownDisk(at('before.img'), folder);
    const older = at('older.img');
    copyDisk(source, older);
    const large = readFileSync(older).indexOf('a large file that is not compressible', parts.app.offset);
    writeInto(older, Buffer.alloc(70_000, 'older '), large + 300_000);
    await doppelOk('clone', older, before, '--yes', '--state-dir', at('state'));
    return { folder, source, words: ['--delta'], targets: [{ name: 'target.img', before }] };
  },
  /** Two targets, each with a profile of its own. */
  several: async () => {
    const { folder, source, at } = await stage();
    const targets = [];
    for (const host of ['web-01', 'web-02']) {
      targets.push({ name: `${host}.img`, before: await knownDisk(at(`${host}.before`), folder, host) });
    }
    return { folder, source, words: [], targets };
  },
  /** A qcow2 that the run itself makes. */
  created: async () => {
    const { folder, source } = await stage();
    return { folder, source, words: ['--as', profileFile(folder), '--size', '84M'], targets: [{ name: 'target.qcow2' }] };
  },
  /** MBR disks with logical partitions; the profile stands in a raw range. */
  logical: async () => {
    const { folder, source, at } = await stage();
    const size = smallSize + 8 * MiB;
    const swap = { offset: smallSize + MiB, length: parts.swap.length };
    const swapBytes = bytesOf(source, parts.swap);
    tool('sgdisk', ['--zap-all', source]);
    truncateSync(source, size);
    writeInto(source, swapBytes, swap.offset);
    const start = ({ offset, length }: Range) => `start=${offset / 512}, size=${length / 512}`;
    dosTable(source, [
      `${start(parts.esp)}, type=ef`,
      `${start(parts.root)}, type=83, bootable`,
      `start=${parts.swap.offset / 512}, type=5`,
      `${start(parts.app)}, type=83`,
      `${start(swap)}, type=82`,
    ]);
    writeInto(source, Buffer.alloc(30_000, 'core.img '), 512);
    const before = at('before.img');
    newFile(before, size);
    dosTable(before, ['start=8192, size=81920, type=83, bootable', 'start=92160, type=5', 'start=96256, size=20480, type=83']);
    await doppelOk('profile', 'write', before, profileFile(folder), '--yes');
    tool('mkfs.ext4', ['-q', '-F', '-E', `offset=${8192 * 512}`, before, '40M']);
    const shape = { ...plainShape, same: [parts.esp, parts.app, swap, { offset: 512, length: 30_000 }] };
    return { folder, source, words: [], targets: [{ name: 'target.img', before }], shape };
  },
  /** A larger target on which the last part grows with its file system. */
  grow: async () => {
    const { folder, source, at } = await stage();
    const before = await knownDisk(at('before.img'), folder, 'web-07', smallSize + 40 * MiB);
    const app = { offset: parts.app.offset, length: parts.app.length + 40 * MiB };
    const shape = { same: [parts.esp, parts.swap], files: [parts.root, app] };
    return { folder, source, words: ['--grow', 'app'], targets: [{ name: 'target.img', before }], shape };
  },
} satisfies Record<string, () => Promise<Setting>>;

export type SceneName = keyof typeof scenes;

/** The disks of a scene, and nothing done with them yet. */
export function makeSetting(name: SceneName): Promise<Setting> {
  return scenes[name]();
}

export async function makeScene(name: SceneName): Promise<Scene> {
  return scene(name, await scenes[name]());
}

function dosTable(disk: string, lines: readonly string[]): void {
  const script = `label: dos\nlabel-id: 0x5eed0001\n${lines.join('\n')}\n`;
  tool('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', '--wipe=never', '--wipe-partitions=never', disk], script);
}

export function exists(path: string): boolean {
  return existsSync(path);
}
