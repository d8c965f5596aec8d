/** Signatures of file systems and encryption of Windows. */
import type { ImageSource } from '../../../image/contract.ts';
import type { FileSystemInfo } from '../../contract.ts';
import { peek, text16, u64le } from '../bytes.ts';
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
