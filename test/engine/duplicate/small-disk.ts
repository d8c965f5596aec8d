/**
 * A disk of 84 MiB with the files of a server: FAT, ext4 (root), swap, ext4 (application). Small enough to be cloned many times
 * in one test file. All sizes and offsets are bytes.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeTree } from '../../../scripts/demo-image/tree.ts';
import { demoIdentity, demoIds } from '../../fixtures/server-disk.ts';
import { tempDir } from '../../fixtures/temp.ts';

export const MiB = 1 << 20;
export const smallSize = 84 * MiB;

export const parts = {
  esp: { number: 1, offset: MiB, length: 8 * MiB },
  root: { number: 2, offset: 9 * MiB, length: 48 * MiB },
  swap: { number: 3, offset: 57 * MiB, length: 2 * MiB },
  app: { number: 4, offset: 59 * MiB, length: 24 * MiB },
} as const;
export type PartName = keyof typeof parts;
export const partNames = ['esp', 'root', 'swap', 'app'] as const;

export const diskGuid = '5EED0000-0001-4000-8000-0000000000AA';
const gptTypes: Readonly<Record<PartName, string>> = {
  esp: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
  root: '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709',
  swap: '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F',
  app: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
};
const mbrTypes: Readonly<Record<PartName, string>> = { esp: 'ef', root: '83', swap: '82', app: '83' };

export interface SmallDiskOptions {
  readonly table?: 'gpt' | 'mbr';
  readonly sectorSize?: 512 | 4096;
  /** Of the disk; at least `smallSize`. */
  readonly size?: number;
}

const environment = { ...process.env, LC_ALL: 'C', PATH: `/usr/sbin:/sbin:${process.env.PATH ?? ''}` };

/** Runs a system tool; answers what it printed. @throws when it ends with anything but 0 */
export function tool(command: string, args: readonly string[], input?: string | Uint8Array): string {
  return execFileSync(command, args, {
    env: environment,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(input === undefined ? {} : { input }),
  });
}

const made = new Map<number, Record<PartName, string>>();

/** The file systems, made once for each sector size in a process. */
async function makePieces(sectorSize: number): Promise<Record<PartName, string>> {
  const folder = tempDir(`pieces-${sectorSize}`);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  await writeTree(tree, demoIdentity, demoIds);
  for (const name of ['boot/vmlinuz-6.1.0-41-amd64', 'boot/initrd.img-6.1.0-41-amd64']) rmSync(join(tree, name));
  writeFileSync(join(tree, 'var/tmp/deleted.bin'), Buffer.alloc(2 * MiB, 'deleted '));
  const app = join(folder, 'app');
  mkdirSync(join(app, 'db/deep'), { recursive: true });
  writeFileSync(join(app, 'RELEASE'), 'release=1\n');
  for (let index = 0; index < 40; index++)
    writeFileSync(join(app, 'db/deep', `row-${index}`), Buffer.alloc(1000 + index * 997, `row ${index} `));
  writeFileSync(join(app, 'db/large'), Buffer.alloc(5 * MiB, 'a large file that is not compressible? it is '));
  writeFileSync(join(app, 'db/sparse'), 'head');
  truncateSync(join(app, 'db/sparse'), 8 * MiB);
  const files = Object.fromEntries(partNames.map((name) => [name, join(folder, `${name}.img`)])) as Record<PartName, string>;
  for (const name of partNames) newFile(files[name], parts[name].length);
  tool('mkfs.vfat', ['-S', String(sectorSize), '-n', 'ESP', '-i', demoIds.esp.replace('-', ''), files.esp]);
  tool('mmd', ['-i', files.esp, '::/EFI', '::/EFI/BOOT']);
  const loader = join(folder, 'loader');
  writeFileSync(loader, Buffer.alloc(MiB, 'MZ loader '));
  tool('mcopy', ['-i', files.esp, loader, '::/EFI/BOOT/BOOTX64.EFI']);
  const ext4 = ['-q', '-F', '-b', '4096', '-E', 'lazy_itable_init=0,lazy_journal_init=0'];
  tool('mkfs.ext4', [...ext4, '-L', 'root', '-U', demoIds.root, '-d', tree, files.root]);
  tool('debugfs', ['-w', '-R', 'rm /var/tmp/deleted.bin', files.root]);
  tool('mkswap', ['-q', '-U', demoIds.swap, files.swap]);
  tool('mkfs.ext4', [...ext4, '-L', 'app', '-U', demoIds.data, '-d', app, files.app]);
  for (const folder of [tree, app]) rmSync(folder, { recursive: true });
  return files;
}

/** Makes the disk at `path`; its boot code is `boot code of the source`. */
export async function makeSmallDisk(path: string, options: SmallDiskOptions = {}): Promise<void> {
  const { table = 'gpt', sectorSize = 512, size = smallSize } = options;
  const files = made.get(sectorSize) ?? (await makePieces(sectorSize));
  made.set(sectorSize, files);
  newFile(path, size);
  writeTable(path, table, sectorSize);
  for (const name of partNames) writeInto(path, readFileSync(files[name]), parts[name].offset);
  writeInto(path, Buffer.from('boot code of the source'), 0);
}

export function writeTable(path: string, table: 'gpt' | 'mbr', sectorSize = 512, names: readonly PartName[] = partNames): void {
  const lines = names.map((name) => {
    const { number, offset, length } = parts[name];
    const place = `start=${offset / sectorSize}, size=${length / sectorSize}`;
    return table === 'gpt'
      ? `${number}: ${place}, type=${gptTypes[name]}, uuid=5EED0000-0002-4000-8000-00000000000${number}, name="${name}"`
      : `${number}: ${place}, type=${mbrTypes[name]}${name === 'root' ? ', bootable' : ''}`;
  });
  const head = table === 'gpt' ? `label: gpt\nlabel-id: ${diskGuid}` : 'label: dos\nlabel-id: 0x5eed0001';
  const script = `${head}\n${lines.join('\n')}\n`;
  if (sectorSize === 512) {
    tool('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', path], script);
    return;
  }
  // Only fdisk can be told the sector size of a file.
  const file = join(tempDir('table'), 'table');
  writeFileSync(file, script.replaceAll(/^(\d): /gm, ''));
  tool('fdisk', ['-b', String(sectorSize), path], `I\n${file}\nw\n`);
}

export function newFile(path: string, size: number): void {
  writeFileSync(path, '');
  truncateSync(path, size);
}

/** A copy that keeps holes. */
export function copyDisk(from: string, to: string): void {
  tool('cp', ['--sparse=always', from, to]);
}

/** A part of a disk as a disk of its own, without a table; grains of zeros are holes. */
export function copyPart(
  disk: string,
  { offset, length }: { readonly offset: number; readonly length: number },
  to: string,
): void {
  const places = ['bs=1M', `skip=${offset / MiB}`, `count=${length / MiB}`];
  tool('dd', [`if=${disk}`, `of=${to}`, ...places, 'conv=sparse', 'status=none']);
}

/** Writes bytes into a file; grains of zeros stay holes. */
export function writeInto(path: string, bytes: Uint8Array, offset: number): void {
  const grain = 64 * 1024;
  const zeros = Buffer.alloc(grain);
  const file = openSync(path, 'r+');
  try {
    for (let at = 0; at < bytes.length; at += grain) {
      const chunk = bytes.subarray(at, at + grain);
      if (Buffer.compare(chunk, zeros.subarray(0, chunk.length)) !== 0) writeSync(file, chunk, 0, chunk.length, offset + at);
    }
  } finally {
    closeSync(file);
  }
}

/** Writes the profile of the demo's target, with other values where `edit` says so; answers its path. */
export function profileFile(folder: string, edit: (text: string) => string = (text) => text, name = 'web-07.yaml'): string {
  const demo = join(dirname(fileURLToPath(import.meta.url)), '../../../scripts/demo-profile.yaml');
  const path = join(folder, name);
  copyFileSync(demo, path);
  writeFileSync(path, edit(readFileSync(demo, 'utf8')));
  return path;
}
