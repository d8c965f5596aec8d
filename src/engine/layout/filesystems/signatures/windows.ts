/** Signatures of file systems and encryption of Windows. */
import type { ImageSource } from '../../../image/contract.ts';
import type { FileSystemInfo, FileSystemState } from '../../contract.ts';
import { isPowerOfTwo, peek, text16, u64le } from '../bytes.ts';
import { serialText } from '../fat/boot-sector.ts';

/** "BitLocker To Go" volumes pretend to be FAT32 and have this GUID in their boot sector. */
const bitLockerToGo = '3bd66749292ed84a8399f6a339e3d001';

export async function probeBitLocker(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const sector = await peek(part, 0, 512);
  if (sector === undefined) return undefined;
  const found = sector.toString('latin1', 3, 11) === '-FVE-FS-' || sector.toString('hex', 424, 440) === bitLockerToGo;
  return found ? { type: 'BitLocker', uuid: '', label: '', size: 0, state: 'unknown' } : undefined;
}

const labelEntry = 0x83;
const exfatDirty = 0x2;

/** Format: "exFAT file system specification" (Microsoft). */
export async function probeExfat(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const sector = await peek(part, 0, 512);
  if (sector === undefined || sector.toString('latin1', 3, 11) !== 'EXFAT   ' || sector.readUInt16LE(510) !== 0xaa55)
    return undefined;
  const shift = sector[108] as number;
  const clusterShift = sector[109] as number;
  if (shift < 9 || shift > 12 || shift + clusterShift > 25) return undefined;
  const heap = sector.readUInt32LE(88) * 2 ** shift;
  const root = heap + (sector.readUInt32LE(96) - 2) * 2 ** (shift + clusterShift);
  return {
    type: 'exfat',
    uuid: serialText(sector.readUInt32LE(100)),
    label: exfatLabel(await peek(part, root, Math.min(2 ** (shift + clusterShift), 65536))),
    size: Math.min(u64le(sector, 72) * 2 ** shift, part.size),
    state: sector.readUInt16LE(106) & exfatDirty ? 'unclean' : 'clean',
  };
}

function exfatLabel(directory: Buffer | undefined): string {
  for (let at = 0; directory !== undefined && at + 32 <= directory.length && directory[at] !== 0; at += 32) {
    if (directory[at] === labelEntry) return text16(directory, at + 2, Math.min(directory[at + 1] as number, 11) * 2);
  }
  return '';
}

const volumeFile = 3;
const attributeName = 0x60;
const attributeInformation = 0x70;
const attributeEnd = 0xffffffff;
const ntfsDirty = 0x1;

/** Format: the NTFS documentation of the Linux-NTFS project. Name and dirty flag stand in the file $Volume. */
export async function probeNtfs(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const sector = await peek(part, 0, 512);
  if (sector === undefined || sector.toString('latin1', 3, 11) !== 'NTFS    ') return undefined;
  const sectorBytes = sector.readUInt16LE(11);
  const code = sector[13] as number;
  const clusterBytes = sectorBytes * (code > 128 ? 2 ** (256 - code) : code);
  if (!isPowerOfTwo(sectorBytes) || sectorBytes < 256 || !isPowerOfTwo(clusterBytes) || clusterBytes > 2 ** 21) return undefined;
  const perRecord = sector.readInt8(64);
  const recordBytes = perRecord > 0 ? perRecord * clusterBytes : 2 ** -perRecord;
  if (!isPowerOfTwo(recordBytes) || recordBytes < 512 || recordBytes > 65536) return undefined;
  const record = await peek(part, u64le(sector, 48) * clusterBytes + volumeFile * recordBytes, recordBytes);
  return {
    type: 'ntfs',
    uuid: sector.readBigUInt64LE(72).toString(16).toUpperCase().padStart(16, '0'),
    size: Math.min(u64le(sector, 40) * sectorBytes, part.size),
    ...volumeDetails(record),
  };
}

function volumeDetails(record: Buffer | undefined): { label: string; state: FileSystemState } {
  let label = '';
  let state: FileSystemState = 'unknown';
  if (record === undefined || record.toString('latin1', 0, 4) !== 'FILE') return { label, state };
  let at = record.readUInt16LE(20);
  while (at + 24 <= record.length && record.readUInt32LE(at) !== attributeEnd) {
    const type = record.readUInt32LE(at);
    const length = record.readUInt32LE(at + 4);
    const value = at + record.readUInt16LE(at + 20);
    const valueEnd = value + record.readUInt32LE(at + 16);
    const resident = record[at + 8] === 0 && valueEnd <= record.length;
    if (type === attributeName && resident) label = text16(record, value, valueEnd - value);
    if (type === attributeInformation && resident && value + 12 <= valueEnd) {
      state = record.readUInt16LE(value + 10) & ntfsDirty ? 'unclean' : 'clean';
    }
    if (length < 24) break;
    at += length;
  }
  return { label, state };
}
