/** Signatures of file systems of Linux and of optical discs. */
import type { ImageSource } from '../../../image/contract.ts';
import type { FileSystemInfo } from '../../contract.ts';
import { peek, text, u64le, uuidText } from '../bytes.ts';

function info(part: ImageSource, type: string, uuid: string, label: string, size: number): FileSystemInfo {
  return { type, uuid, label, size: Math.min(size, part.size), state: 'unknown' };
}

export async function probeErofs(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const head = await peek(part, 1024, 128);
  if (head === undefined || head.readUInt32LE(0) !== 0xe0f5e1e2) return undefined;
  return info(part, 'erofs', uuidText(head, 48), text(head, 64, 16), head.readUInt32LE(36) * 2 ** (head[12] as number));
}

export async function probeSquashfs(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const head = await peek(part, 0, 96);
  if (head === undefined || head.toString('latin1', 0, 4) !== 'hsqs') return undefined;
  return info(part, 'squashfs', '', '', u64le(head, 40));
}

/** The primary volume descriptor; the UUID is its time of change, as blkid writes it. */
export async function probeIso9660(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const head = await peek(part, 32768, 2048);
  if (head === undefined || head[0] !== 1 || head.toString('latin1', 1, 6) !== 'CD001') return undefined;
  const changed = head.toString('latin1', 813, 829);
  const created = head.toString('latin1', 830, 846);
  const time = [changed, created].find((digits) => /^\d{16}$/.test(digits) && !/^0+$/.test(digits)) ?? '';
  const uuid = time.replace(/^(....)(..)(..)(..)(..)(..)(..)$/, '$1-$2-$3-$4-$5-$6-$7');
  return info(part, 'iso9660', uuid, text(head, 40, 32), head.readUInt32LE(80) * head.readUInt16LE(128));
}
