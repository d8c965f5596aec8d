/** Finding and changing structures of an NTFS image, to make volumes that no tool makes here. */
import { type FileHandle, open } from 'node:fs/promises';

const recordBytes = 1024;

export interface Ntfs {
  readonly file: FileHandle;
  readonly clusterBytes: number;
  /** Where the records of the first files stand, and where the copies of the first four. */
  readonly mftAt: number;
  readonly mirrorAt: number;
}

export async function withNtfs<T>(image: string, body: (ntfs: Ntfs) => Promise<T>): Promise<T> {
  const file = await open(image, 'r+');
  try {
    const boot = Buffer.alloc(512);
    await file.read(boot, 0, 512, 0);
    const clusterBytes = boot.readUInt16LE(11) * (boot[13] as number);
    const at = (field: number): number => Number(boot.readBigUInt64LE(field)) * clusterBytes;
    return await body({ file, clusterBytes, mftAt: at(48), mirrorAt: at(56) });
  } finally {
    await file.close();
  }
}

/** Changes a record and, for the first four, its copy. The fixups are left as they are: keep away from the ends of sectors. */
export async function changeRecord(ntfs: Ntfs, number: number, change: (record: Buffer) => void, both = true): Promise<void> {
  for (const base of number < 4 && both ? [ntfs.mftAt, ntfs.mirrorAt] : [ntfs.mftAt]) {
    const record = Buffer.alloc(recordBytes);
    await ntfs.file.read(record, 0, recordBytes, base + number * recordBytes);
    change(record);
    await ntfs.file.write(record, 0, recordBytes, base + number * recordBytes);
  }
}

/** Where the first attribute of this type begins in a record. */
export function attributeAt(record: Buffer, type: number): number {
  for (let at = record.readUInt16LE(20); record.readUInt32LE(at) !== 0xffffffff; at += record.readUInt32LE(at + 4)) {
    if (record.readUInt32LE(at) === type) return at;
  }
  throw new Error(`there is no attribute of type ${type}`);
}

/** The byte of the volume where the first run of a file's data begins. */
export async function dataAt(ntfs: Ntfs, number: number): Promise<number> {
  const record = Buffer.alloc(recordBytes);
  await ntfs.file.read(record, 0, recordBytes, ntfs.mftAt + number * recordBytes);
  const attribute = attributeAt(record, 0x80);
  const pairs = attribute + record.readUInt16LE(attribute + 32);
  const head = record[pairs] as number;
  return record.readIntLE(pairs + 1 + (head & 0xf), head >>> 4) * ntfs.clusterBytes;
}

/** A restart page of $LogFile, with fixups. */
export function restartPage(options: {
  readonly version: readonly [number, number];
  readonly clean: boolean;
  readonly lsn?: bigint;
}): Buffer {
  const page = Buffer.alloc(4096);
  page.write('RSTR');
  page.writeUInt16LE(30, 4);
  page.writeUInt16LE(9, 6);
  page.writeUInt32LE(4096, 16);
  page.writeUInt32LE(4096, 20);
  page.writeUInt16LE(48, 24);
  page.writeInt16LE(options.version[1], 26);
  page.writeInt16LE(options.version[0], 28);
  page.writeBigUInt64LE(options.lsn ?? 1n, 48);
  page.writeUInt16LE(options.clean ? 0xffff : 0, 48 + 12);
  page.writeUInt16LE(7, 30);
  for (let tail = 510; tail < 4096; tail += 512) page.writeUInt16LE(7, tail);
  return page;
}
