/** Disks for the tests of partition tables: sparse files with tables made by sfdisk and sgdisk, and the verdict of both on ours. */
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { execa } from 'execa';
import type { Extent, ImageSource } from '../../../src/engine/image/contract.ts';
import type { TableWrites } from '../../../src/engine/layout/table-encode.ts';
import { needRoot } from '../../fixtures/privilege.ts';

export const MiB = 1024 * 1024;
/** Large enough for three parts of 8 MiB, small enough to be copied often. */
export const diskSize = 32 * MiB;

/** A disk image in memory: quick to damage, and to count on. */
export class MemoryDisk implements ImageSource {
  readonly name = 'disk';
  readonly physicalSectorSize = 4096;
  readonly bytes: Uint8Array;
  readonly sectorSize: number;
  readonly sectorSizeAssumed: boolean;

  constructor(bytes: Uint8Array, sectorSize = 512, sectorSizeAssumed = false) {
    this.bytes = bytes;
    this.sectorSize = sectorSize;
    this.sectorSizeAssumed = sectorSizeAssumed;
  }

  get size(): number {
    return this.bytes.length;
  }

  async *extents(): AsyncIterable<Extent> {
    yield { offset: 0, length: this.size, state: 'data' };
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    if (offset < 0 || offset + into.length > this.size)
      throw new RangeError(`read of ${into.length} at ${offset} of ${this.size}`);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }

  async close(): Promise<void> {}

  /** Applies writes in the order that a duplication does. */
  apply(writes: TableWrites): this {
    for (const write of [...writes.backup, ...writes.primary, ...writes.mbr, ...writes.obsolete]) {
      this.bytes.set(write.bytes, write.offset);
    }
    return this;
  }

  copy(): MemoryDisk {
    return new MemoryDisk(this.bytes.slice(), this.sectorSize, this.sectorSizeAssumed);
  }

  view(offset: number, length = this.size - offset): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + offset, length);
  }
}

/** Calls `use` with the path of a file that holds `bytes`; the file is removed afterwards. */
export async function withFile<T>(bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'doppel-table-'));
  try {
    const path = join(folder, 'disk.img');
    const file: FileHandle = await open(path, 'w');
    try {
      await file.truncate(bytes.length);
      for (let at = 0; at < bytes.length; at += MiB) {
        const chunk = bytes.subarray(at, at + MiB);
        if (chunk.some((byte) => byte !== 0)) await file.write(chunk, 0, chunk.length, at);
      }
    } finally {
      await file.close();
    }
    return await use(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The same with a loop device of the given logical sector size over the file. */
export async function withLoop<T>(path: string, sectorSize: number, use: (device: string) => Promise<T>): Promise<T> {
  needRoot();
  const { stdout: device } = await execa('losetup', ['--find', '--show', '--sector-size', String(sectorSize), path]);
  try {
    return await use(device);
  } finally {
    await execa('losetup', ['--detach', device]);
  }
}

/** Runs `use` on a path that the tools see with the disk's sector size, and returns the disk as they left it. */
export async function withTools(disk: MemoryDisk, use: (path: string) => Promise<void>): Promise<MemoryDisk> {
  return withFile(disk.bytes, async (path) => {
    if (disk.sectorSize === 512) await use(path);
    else await withLoop(path, disk.sectorSize, use);
    const file = await open(path, 'r');
    try {
      return new MemoryDisk(new Uint8Array(await file.readFile()), disk.sectorSize, disk.sectorSizeAssumed);
    } finally {
      await file.close();
    }
  });
}

/** A disk of `size` bytes partitioned by sfdisk with `script`. */
export async function sfdiskDisk(script: string, size = diskSize, sectorSize = 512): Promise<MemoryDisk> {
  return withTools(new MemoryDisk(new Uint8Array(size), sectorSize), async (path) => {
    await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', path], { input: script });
  });
}

/** A disk of `size` bytes partitioned by sgdisk. */
export async function sgdiskDisk(args: readonly string[], size = diskSize, sectorSize = 512): Promise<MemoryDisk> {
  return withTools(new MemoryDisk(new Uint8Array(size), sectorSize), async (path) => {
    await execa('sgdisk', [...args, path]);
  });
}

export interface SfdiskTable {
  readonly label: string;
  readonly id: string;
  readonly firstlba: number;
  readonly lastlba: number;
  readonly sectorsize: number;
  readonly partitions?: readonly SfdiskPartition[];
}

export interface SfdiskPartition {
  readonly node: string;
  readonly start: number;
  readonly size: number;
  readonly type: string;
  readonly uuid: string;
  readonly name?: string;
  readonly attrs?: string;
  readonly bootable?: boolean;
}

/** What sfdisk reads from the disk, and everything that it complains about. */
export async function sfdiskReads(disk: MemoryDisk): Promise<{ table: SfdiskTable; complaints: string }> {
  let answer: { table: SfdiskTable; complaints: string } | undefined;
  await withTools(disk, async (path) => {
    const json = await execa('sfdisk', ['--json', path]);
    answer = { table: (JSON.parse(json.stdout) as { partitiontable: SfdiskTable }).partitiontable, complaints: json.stderr };
  });
  if (!answer) throw new Error('sfdisk was not asked');
  return answer;
}

/** What sgdisk remarks about every table of sfdisk, whose FirstUsableLBA is at 1 MiB. */
const gapRemark = /Warning: There is a gap between the main partition table(.|\n)*?can adjust this gap\./;

/** Throws unless both sgdisk and sfdisk find nothing wrong with the GPT of the disk. */
export async function toolsAccept(disk: MemoryDisk): Promise<void> {
  await withTools(disk, async (path) => {
    const sgdisk = await execa('sgdisk', ['--verify', path]);
    const remarks = (sgdisk.stdout + sgdisk.stderr).replace(gapRemark, '');
    if (!remarks.includes('No problems found') || /warning|caution|invalid|corrupt/i.test(remarks)) {
      throw new Error(`sgdisk --verify: ${sgdisk.stdout}${sgdisk.stderr}`);
    }
    const sfdisk = await execa('sfdisk', ['--verify', path]);
    if (!sfdisk.stdout.includes('No errors detected') || sfdisk.stderr !== '') {
      throw new Error(`sfdisk --verify: ${sfdisk.stdout}${sfdisk.stderr}`);
    }
  });
}

/** Makes both CRCs of the header at `lba` right again after damage done on purpose. */
export function fixCrcs(disk: MemoryDisk, lba: number, { array = true }: { array?: boolean } = {}): void {
  const at = lba * disk.sectorSize;
  const view = disk.view(at, disk.sectorSize);
  if (array) {
    const start = Number(view.getBigUint64(72, true)) * disk.sectorSize;
    const length = view.getUint32(80, true) * view.getUint32(84, true);
    if (start >= 0 && start + length <= disk.size) view.setUint32(88, crc32(disk.bytes.subarray(start, start + length)), true);
  }
  const size = view.getUint32(12, true);
  if (size < 92 || size > disk.sectorSize) return;
  view.setUint32(16, 0, true);
  view.setUint32(16, crc32(disk.bytes.subarray(at, at + size)), true);
}

/** Position of entry `number` of the array that the header at `lba` names. */
export function entryOffset(disk: MemoryDisk, lba: number, number: number): number {
  const view = disk.view(lba * disk.sectorSize, disk.sectorSize);
  return Number(view.getBigUint64(72, true)) * disk.sectorSize + (number - 1) * view.getUint32(84, true);
}

export function lastSector(disk: MemoryDisk): number {
  return Math.floor(disk.size / disk.sectorSize) - 1;
}

/** Answers the error that `work` rejects with; throws when it does not. */
export async function failure(work: Promise<unknown>): Promise<Error> {
  return work.then(
    (value) => {
      throw new Error(`expected a failure, got ${JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v))}`);
    },
    (error: unknown) => error as Error,
  );
}
