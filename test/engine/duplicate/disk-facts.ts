/** What a disk holds, found out with other means than doppel's own. Offsets and lengths are bytes. */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, lstatSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ByteRange } from '../../../src/engine/image/contract.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tool } from './small-disk.ts';

/** SHA-256 of a range of a file or block device, default the whole of it. */
export function hashOf(path: string, range?: ByteRange): string {
  const file = openSync(path, 'r');
  try {
    const { offset, length } = range ?? { offset: 0, length: fstatSync(file).size };
    const hash = createHash('sha256');
    const buffer = Buffer.alloc(1 << 20);
    for (let at = offset; at < offset + length; ) {
      const read = readSync(file, buffer, 0, Math.min(buffer.length, offset + length - at), at);
      if (read === 0) throw new Error(`${path} ends at ${at}`);
      hash.update(buffer.subarray(0, read));
      at += read;
    }
    return hash.digest('hex');
  } finally {
    closeSync(file);
  }
}

export function bytesOf(path: string, { offset, length }: ByteRange): Buffer {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(length);
    if (readSync(file, bytes, 0, length, offset) !== length) throw new Error(`${path} is too short`);
    return bytes;
  } finally {
    closeSync(file);
  }
}

/** What a write would change: the hash of every byte and the time of the last change. */
export function fingerprint(path: string): string {
  const { mtimeNs, size } = statSync(path, { bigint: true });
  return `${hashOf(path)} ${mtimeNs} ${size}`;
}

/** Bytes that the file takes on its file system. */
export function allocated(path: string): number {
  return statSync(path).blocks * 512;
}

/** Every path of a part with type, mode, owner, size, and content or target. Times are left out: mounting changes them. */
export function filesOf(disk: string, range: ByteRange, type: 'ext4' | 'xfs' = 'ext4'): Map<string, string> {
  const loop = attachLoop(disk, { offset: range.offset, size: range.length, readOnly: true });
  try {
    const mounted = mount(loop.device, type, type === 'xfs' ? 'ro,norecovery,nouuid' : 'ro,noload');
    try {
      const found = new Map<string, string>();
      walk(mounted.path, '', found);
      return found;
    } finally {
      mounted.unmount();
    }
  } finally {
    loop.detach();
  }
}

function walk(root: string, path: string, found: Map<string, string>): void {
  for (const name of readdirSync(join(root, path)).sort()) {
    const inside = `${path}/${name}`;
    const state = lstatSync(root + inside);
    const about = `${state.mode.toString(8)} ${state.uid}:${state.gid}`;
    if (state.isDirectory()) {
      found.set(inside, about);
      walk(root, inside, found);
    } else if (state.isSymbolicLink()) found.set(inside, `${about} -> ${readlinkSync(root + inside)}`);
    else
      found.set(
        inside,
        `${about} ${state.size} ${createHash('sha256')
          .update(readFileSync(root + inside))
          .digest('hex')}`,
      );
  }
}

/** The text of files of a part that need not exist. */
export function textOf(disk: string, range: ByteRange, path: string): string {
  return tool('debugfs', ['-R', `cat ${path}`, `${disk}?offset=${range.offset}`]);
}

/** Holds a file system to its own checker, which changes nothing. @throws with the checker's output */
export function checkFileSystem(disk: string, range: ByteRange, type: 'ext4' | 'xfs' | 'vfat'): void {
  const loop = attachLoop(disk, { offset: range.offset, size: range.length, readOnly: true });
  try {
    if (type === 'ext4') tool('e2fsck', ['-fn', loop.device]);
    else if (type === 'xfs') tool('xfs_repair', ['-n', loop.device]);
    else tool('fsck.vfat', ['-n', loop.device]);
  } finally {
    loop.detach();
  }
}

/** Whether sgdisk and sfdisk find the GPT of a 512-byte-sector disk without fault. @throws with what they say */
export function checkGpt(disk: string): void {
  const verdict = tool('sgdisk', ['-v', disk]);
  if (!verdict.includes('No problems found')) throw new Error(verdict);
  tool('sfdisk', ['--verify', disk]);
}

/** The table as sfdisk dumps it, without the name of the file. */
export function tableOf(disk: string): string {
  return tool('sfdisk', ['--dump', disk]).replaceAll(disk, 'disk');
}

/** Loop devices that stand on files of this folder. */
export function loopsOn(folder: string): string[] {
  const { loopdevices } = JSON.parse(tool('losetup', ['--list', '--json']) || '{"loopdevices":[]}') as {
    // Null while the device goes away.
    loopdevices: { name: string; 'back-file': string | null }[];
  };
  return loopdevices.filter((loop) => loop['back-file']?.startsWith(`${folder}/`)).map(({ name }) => name);
}
