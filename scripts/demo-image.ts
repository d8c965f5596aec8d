/**
 * Makes a small disk image of a Debian server: real partition table, FAT, ext4, swap and XFS, with the tools that any
 * administrator would use. Nothing is mounted and nothing needs root, but without root all files belong to the caller.
 */
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { databasePages, logText, noise } from './demo-image/noise.ts';
import { type FilesystemIds, type Identity, kernelVersion, writeTree } from './demo-image/tree.ts';

const mebibyte = 1 << 20;

export interface ServerDiskOptions {
  /** File to make; what was there is replaced. */
  readonly path: string;
  /** Bytes, at least 512 MiB (XFS needs 300); default 512 MiB. */
  readonly size?: number;
  /** Of the partition table and the file systems; default 512. */
  readonly sectorSize?: 512 | 4096;
  /** `none`: the root file system takes the whole disk. Default gpt. */
  readonly table?: 'gpt' | 'mbr' | 'none';
  readonly identity?: Partial<Identity>;
}

export type PartName = 'esp' | 'root' | 'swap' | 'data';

export interface ServerDisk {
  readonly path: string;
  readonly size: number;
  readonly sectorSize: number;
  readonly table: 'gpt' | 'mbr' | 'none';
  readonly identity: Identity;
  readonly ids: FilesystemIds;
  /** In disk order, numbered from 1; offsets and sizes in bytes. With table `none` only root. */
  readonly parts: readonly { readonly name: PartName; readonly number: number; readonly offset: number; readonly size: number }[];
}

/** Who the server is unless told otherwise. */
export const demoIdentity: Identity = {
  hostname: 'source-01',
  fqdn: 'source-01.example.net',
  machineId: '5eed00000004400080000000000000aa',
  address: '192.0.2.10/24',
  gateway: '192.0.2.1',
};

export const demoIds: FilesystemIds = {
  esp: '5EED-0001',
  root: '5eed0000-0003-4000-8000-000000000002',
  swap: '5eed0000-0003-4000-8000-000000000003',
  data: '5eed0000-0003-4000-8000-000000000004',
};

/** Partition types: of the UEFI specification and the Discoverable Partitions Specification; MBR types as `sfdisk -T` lists them. */
const types: Readonly<Record<PartName, { readonly gpt: string; readonly mbr: string; readonly label: string }>> = {
  esp: { gpt: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B', mbr: 'ef', label: 'EFI System' },
  root: { gpt: '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709', mbr: '83', label: 'root' },
  swap: { gpt: '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F', mbr: '82', label: 'swap' },
  data: { gpt: '0FC63DAF-8483-4772-8E79-3D69D8477DE4', mbr: '83', label: 'appdata' },
};

const environment = {
  LC_ALL: 'C',
  PATH: `/usr/sbin:/sbin:${process.env.PATH ?? ''}`,
  E2FSPROGS_FAKE_TIME: '1750000000',
  SOURCE_DATE_EPOCH: '1750000000',
};

async function tool(command: string, args: readonly string[], input?: string): Promise<void> {
  await execa(command, args, { env: environment, ...(input === undefined ? { stdin: 'ignore' } : { input }) });
}

/** Takes two to four seconds. */
export async function makeServerDisk(options: ServerDiskOptions): Promise<ServerDisk> {
  const { path, size = 512 * mebibyte, sectorSize = 512, table = 'gpt' } = options;
  const identity = { ...demoIdentity, ...options.identity };
  const parts = layOut(size, table);
  const disk: ServerDisk = { path, size, sectorSize, table, identity, ids: demoIds, parts };
  rmSync(path, { force: true });
  closeSync(openSync(path, 'w'));
  truncateSync(path, size);
  const scratch = mkdtempSync(join(tmpdir(), 'doppel-disk-'));
  try {
    if (table !== 'none') await writeTable(disk, scratch);
    for (const part of parts) {
      const file = join(scratch, part.name);
      await makers[part.name](file, part.size, disk, scratch);
      copyInto(file, path, part.offset);
      rmSync(file);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return disk;
}

function layOut(size: number, table: ServerDisk['table']): ServerDisk['parts'] {
  if (table === 'none') return [{ name: 'root', number: 1, offset: 0, size }];
  const sizes: readonly [PartName, number][] = [
    ['esp', 32],
    ['root', 128],
    ['swap', 16],
    // A mebibyte before the first partition, and one at the end for the backup table.
    ['data', Math.floor(size / mebibyte) - 2 - 32 - 128 - 16],
  ];
  let offset = mebibyte;
  return sizes.map(([name, mebibytes], index) => {
    const part = { name, number: index + 1, offset, size: mebibytes * mebibyte };
    offset += part.size;
    return part;
  });
}

async function writeTable({ path, table, sectorSize, parts }: ServerDisk, scratch: string): Promise<void> {
  const lines = parts.map(({ name, number, offset, size }) => {
    const { gpt, mbr, label } = types[name];
    const place = `start=${offset / sectorSize}, size=${size / sectorSize}`;
    return table === 'gpt'
      ? `${place}, type=${gpt}, uuid=5EED0000-0002-4000-8000-00000000000${number}, name="${label}"`
      : `${place}, type=${mbr}${name === 'root' ? ', bootable' : ''}`;
  });
  const id = table === 'gpt' ? 'label: gpt\nlabel-id: 5EED0000-0001-4000-8000-000000000001' : 'label: dos\nlabel-id: 0x5eed0001';
  const script = `${id}\n${lines.join('\n')}\n`;
  if (sectorSize === 512) {
    await tool('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', path], script);
    return;
  }
  // Only fdisk can be told the sector size of a file.
  const file = join(scratch, 'table');
  writeFileSync(file, script);
  await tool('fdisk', ['-b', String(sectorSize), path], `I\n${file}\nw\n`);
}

type Maker = (file: string, size: number, disk: ServerDisk, scratch: string) => Promise<void>;

const makers: Readonly<Record<PartName, Maker>> = {
  esp: async (file, size, disk, scratch) => {
    newFile(file, size);
    await tool('mkfs.vfat', ['-S', String(disk.sectorSize), '-n', 'ESP', '-i', disk.ids.esp.replace('-', ''), file]);
    const grub = join(scratch, 'grub.cfg');
    writeFileSync(grub, `search.fs_uuid ${disk.ids.root} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n`);
    const loader = join(scratch, 'loader.efi');
    writeFileSync(loader, Buffer.concat([Buffer.from('MZ'), noise('loader', 2 * mebibyte)]));
    await tool('mmd', ['-i', file, '::/EFI', '::/EFI/BOOT', '::/EFI/debian']);
    await tool('mcopy', ['-i', file, loader, '::/EFI/BOOT/BOOTX64.EFI']);
    await tool('mcopy', ['-i', file, loader, '::/EFI/debian/grubx64.efi']);
    await tool('mcopy', ['-i', file, grub, '::/EFI/debian/grub.cfg']);
  },

  root: async (file, size, disk, scratch) => {
    newFile(file, size);
    const tree = join(scratch, 'tree');
    mkdirSync(tree);
    await writeTree(tree, disk.identity, disk.ids);
    // A download that somebody deleted: its blocks stay as they are, free.
    writeFileSync(join(tree, 'var/tmp/deleted.bin'), noise('deleted', 8 * mebibyte));
    const id = disk.ids.root;
    await tool('mkfs.ext4', [
      '-q',
      '-F',
      '-b',
      '4096',
      '-L',
      'root',
      '-U',
      id,
      '-E',
      `hash_seed=${id},lazy_itable_init=0,lazy_journal_init=0`,
      '-d',
      tree,
      file,
    ]);
    await tool('debugfs', ['-w', '-R', 'rm /var/tmp/deleted.bin', file]);
    rmSync(tree, { recursive: true });
  },

  swap: async (file, size, disk) => {
    newFile(file, size);
    await tool('mkswap', ['-q', '-L', 'swap', '-U', disk.ids.swap, file]);
  },

  data: async (file, size, disk, scratch) => {
    newFile(file, size);
    // What an earlier owner of the disk left, behind the log, which mkfs clears.
    writeAt(file, noise('stale', 24 * mebibyte), Math.floor(size * 0.8));
    const proto = writeApplication(join(scratch, 'application'));
    await tool('mkfs.xfs', [
      '-q',
      '-f',
      '-K',
      '-L',
      'appdata',
      '-m',
      `uuid=${disk.ids.data}`,
      '-s',
      `size=${disk.sectorSize}`,
      '-p',
      proto,
      file,
    ]);
    rmSync(join(scratch, 'application'), { recursive: true });
  },
};

/** Writes the application's files and the prototype that mkfs.xfs(8) takes; gives the prototype's path. */
function writeApplication(folder: string): string {
  const wwwData = '33 33';
  const lines: string[] = ['/dev/null', '0 0', 'd--755 0 0'];
  const add = (name: string, owner: string, content: string | Uint8Array): void => {
    const source = join(folder, `${lines.length}`);
    writeFileSync(source, content);
    lines.push(`${name} ---644 ${owner} ${source}`);
  };
  mkdirSync(folder, { recursive: true });
  add('RELEASE', '0 0', 'release=1\n');
  lines.push('blobs d--755 0 0');
  for (let index = 1; index <= 4; index++) add(`blob-${index}.bin`, '0 0', noise(`blob${index}`, 4 * mebibyte));
  lines.push('$', 'db d--700 0 0');
  add('main.db', '0 0', databasePages('database', 2048));
  lines.push('$', 'logs d--755 0 0');
  add('app.log', '0 0', logText('log', 4 * mebibyte));
  lines.push('$', `www d--755 ${wwwData}`);
  for (let index = 0; index < 200; index++)
    add(`page-${index}.html`, wwwData, `<h1>Page ${index}</h1>\n${logText(`page${index}`, 500 + index * 40)}`);
  lines.push('$', '$', '');
  const proto = join(folder, 'proto');
  writeFileSync(proto, lines.join('\n'));
  return proto;
}

function newFile(path: string, size: number): void {
  const file = openSync(path, 'w');
  ftruncateSync(file, size);
  closeSync(file);
}

function writeAt(path: string, content: Uint8Array, offset: number): void {
  const file = openSync(path, 'r+');
  writeSync(file, content, 0, content.length, offset);
  closeSync(file);
}

/** Copies a file into the disk; chunks of zeros stay holes. */
function copyInto(from: string, to: string, offset: number): void {
  const source = openSync(from, 'r');
  const target = openSync(to, 'r+');
  const buffer = Buffer.alloc(64 * 1024);
  const zeros = Buffer.alloc(buffer.length);
  for (let at = 0; ; ) {
    const length = readSync(source, buffer, 0, buffer.length, at);
    if (length === 0) break;
    const chunk = buffer.subarray(0, length);
    if (!chunk.equals(zeros.subarray(0, length)) && writeSync(target, chunk, 0, length, offset + at) !== length)
      throw new Error(`short write to ${to}`);
    at += length;
  }
  closeSync(source);
  closeSync(target);
}

export { kernelVersion };
