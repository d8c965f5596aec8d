/** Signatures of encryption of Windows. */
import type { ImageSource } from '../../../image/contract.ts';
import type { FileSystemInfo } from '../../contract.ts';
import { peek } from '../bytes.ts';

/** "BitLocker To Go" volumes pretend to be FAT32 and have this GUID in their boot sector. */
const bitLockerToGo = '3bd66749292ed84a8399f6a339e3d001';

export async function probeBitLocker(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const sector = await peek(part, 0, 512);
  if (sector === undefined) return undefined;
  const found = sector.toString('latin1', 3, 11) === '-FVE-FS-' || sector.toString('hex', 424, 440) === bitLockerToGo;
  return found ? { type: 'BitLocker', uuid: '', label: '', size: 0, state: 'unknown' } : undefined;
}
