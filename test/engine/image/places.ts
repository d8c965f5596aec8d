/** Where images can lie: file systems on loop devices, memory, loop devices of their own. Undone when the process ends. */
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { atEnd } from '../../fixtures/cleanup.ts';
import { attachLoop, type Loop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';

export interface Place {
  /** An empty folder. */
  readonly folder: string;
  /** The file that holds the file system, and the loop device between; where there is one. */
  readonly backing?: string;
  readonly loop?: Loop;
}

let count = 0;

/** A sparse file of `size` bytes, all zeros. */
export function sparseFile(folder: string, size: number, name = `file ${++count}`): string {
  const path = join(folder, name);
  const fd = openSync(path, 'wx');
  ftruncateSync(fd, size);
  closeSync(fd);
  return path;
}

/** A new file system in a file in `parent`, mounted through a loop device. */
export function fileSystem(type: 'ext4' | 'xfs' | 'btrfs', options: { size?: number; parent?: string } = {}): Place {
  const sizes = { ext4: 32, xfs: 320, btrfs: 128 };
  const backing = sparseFile(options.parent ?? tempDir(), options.size ?? sizes[type] << 20);
  execFileSync(`mkfs.${type}`, ['-q', backing]);
  const loop = attachLoop(backing);
  return { folder: mount(loop.device, type).path, backing, loop };
}

/** A file system in memory. ramfs has no O_DIRECT and never drops a page. */
export function memory(type: 'tmpfs' | 'ramfs', options = 'rw'): Place {
  return { folder: mount('none', type, options).path };
}

export function sharedMemory(): Place {
  const folder = mkdtempSync('/dev/shm/doppel-test-');
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  return { folder };
}

/** Writes bytes of a file where the disk below its file system has them, so that the file's own cache does not notice. */
export function changeBelow(file: string, place: Place, offset: number, bytes: Uint8Array): void {
  if (place.backing === undefined) throw new Error('nothing is below that can be changed');
  const physical = physicalOffset(file, offset);
  const fd = openSync(place.backing, 'r+');
  writeSync(fd, bytes, 0, bytes.length, physical);
  closeSync(fd);
}

/** Where a byte of a file lies on its disk; see filefrag(8). */
function physicalOffset(file: string, offset: number): number {
  const sector = Math.floor(offset / 512);
  for (const line of execFileSync('filefrag', ['-s', '-v', '-b512', file], { encoding: 'utf8' }).split('\n')) {
    const [, first, last, physical] = (/^\s*\d+:\s+(\d+)\.\.\s*(\d+):\s+(\d+)\.\./.exec(line) ?? []).map(Number);
    if (first === undefined || last === undefined || physical === undefined) continue;
    if (sector >= first && sector <= last) return (physical + sector - first) * 512 + (offset % 512);
  }
  throw new Error(`byte ${offset} of ${file} has no place on the disk`);
}
