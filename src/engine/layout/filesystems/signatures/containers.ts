/** Signatures of RAID members, encrypted volumes and volume managers. */
import type { ImageSource } from '../../../image/contract.ts';
import type { FileSystemInfo } from '../../contract.ts';
import { peek, text, u64be, u64le, uuidText } from '../bytes.ts';

function info(type: string, uuid = '', label = ''): FileSystemInfo {
  return { type, uuid, label, size: 0, state: 'unknown' };
}

/** cryptsetup's on-disk format, versions 1 and 2; only the primary header is asked. */
export async function probeLuks(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const head = await peek(part, 0, 512);
  if (head === undefined || head.toString('latin1', 0, 6) !== 'LUKS\xba\xbe') return undefined;
  const version = head.readUInt16BE(6);
  if (version !== 1 && version !== 2) return undefined;
  return info('crypto_LUKS', text(head, 168, 40), version === 2 ? text(head, 24, 48) : '');
}

const mdMagic = 0xa92b4efc;

/** Linux software RAID: 0.90 and 1.0 at the end, 1.1 at the start, 1.2 at 4 KiB. */
export async function probeLinuxRaid(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const old = await peek(part, Math.floor(part.size / 65536) * 65536 - 65536, 4096);
  if (old !== undefined) {
    if (old.readUInt32LE(0) === mdMagic && old.readUInt32LE(4) === 0) return info('linux_raid_member', oldRaidUuid(old, true));
    if (old.readUInt32BE(0) === mdMagic && old.readUInt32BE(4) === 0) return info('linux_raid_member', oldRaidUuid(old, false));
  }
  const atEnd = Math.floor((Math.floor(part.size / 512) - 16) / 8) * 8 * 512;
  for (const offset of [atEnd, 0, 4096]) {
    const head = await peek(part, offset, 256);
    if (head === undefined || head.readUInt32LE(0) !== mdMagic || head.readUInt32LE(4) !== 1) continue;
    if (u64le(head, 144) * 512 === offset) return info('linux_raid_member', uuidText(head, 16), text(head, 32, 32));
  }
  return undefined;
}

/** Word 5, then words 13 to 15, each as a number in the byte order of the machine that made it. */
function oldRaidUuid(head: Buffer, littleEndian: boolean): string {
  const words = Buffer.concat([head.subarray(20, 24), head.subarray(52, 64)]);
  return uuidText(littleEndian ? words.swap32() : words, 0);
}

/** Intel Matrix RAID keeps its table in the last but one sector. */
export async function probeIntelRaid(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const head = await peek(part, (Math.floor(part.size / part.sectorSize) - 2) * part.sectorSize, 512);
  return head?.toString('latin1', 0, 24) === 'Intel Raid ISM Cfg Sig. ' ? info('isw_raid_member') : undefined;
}

const zfsLabelSize = 262144;
const zfsNames = { offset: 16384, length: 114688 };
const zfsUberblocks = { offset: 131072, length: 131072 };
const zfsMagic = 0x00bab10c;
/** One magic alone may be a leftover. */
const zfsEnough = 4;

/** ZFS keeps two labels at each end; uberblocks stand at steps of 1 KiB in their second halves. */
export async function probeZfs(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const size = Math.floor(part.size / zfsLabelSize) * zfsLabelSize;
  let found = 0;
  let names: Buffer | undefined;
  for (const label of [0, zfsLabelSize, size - 2 * zfsLabelSize, size - zfsLabelSize]) {
    const ring = await peek(part, label + zfsUberblocks.offset, zfsUberblocks.length);
    if (ring === undefined) continue;
    let here = 0;
    for (let at = 0; at < ring.length; at += 1024) {
      if (u64le(ring, at) === zfsMagic || u64be(ring, at) === zfsMagic) here++;
    }
    found += here;
    if (here > 0) names ??= await peek(part, label + zfsNames.offset, zfsNames.length);
  }
  if (found < zfsEnough) return undefined;
  return info('zfs_member', poolGuid(names), poolName(names));
}

/** In the label's XDR name-value list: padded name, type (8: uint64), count, value. */
function poolGuid(names: Buffer | undefined): string {
  const at = names?.indexOf('pool_guid\0\0\0') ?? -1;
  if (names === undefined || at < 0 || at + 28 > names.length || names.readUInt32BE(at + 12) !== 8) return '';
  return names.readBigUInt64BE(at + 20).toString();
}

/** Name of length 4, type (9: string), count, length, text. */
function poolName(names: Buffer | undefined): string {
  const at = names?.indexOf('\0\0\0\x04name\0\0\0\x09') ?? -1;
  if (names === undefined || at < 0 || at + 20 > names.length) return '';
  const length = names.readUInt32BE(at + 16);
  return length <= 256 ? text(names, at + 20, length) : '';
}

/** bcache and bcachefs share the first part of their magic and the place. */
export async function probeBcache(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const head = await peek(part, 4096, 512);
  const magic = head?.toString('hex', 24, 40);
  if (head === undefined) return undefined;
  if (magic === 'c68573f64e1a45ca8265f57f48ba6d81') return info('bcache', uuidText(head, 40), text(head, 72, 32));
  if (magic === 'c68573f666ce90a9d96a60cf803df7ef') return info('bcachefs', uuidText(head, 56), text(head, 72, 32));
  return undefined;
}

const drbdMagics = [0x8374026b, 0x8374026c, 0x8374026d];

/** DRBD's internal metadata: 8.x and 9 keep their magic at different places of the last 4 KiB. */
export async function probeDrbd(part: ImageSource): Promise<FileSystemInfo | undefined> {
  const head = await peek(part, Math.floor(part.size / 4096) * 4096 - 4096, 512);
  const found = head !== undefined && [60, 64, 68].some((at) => drbdMagics.includes(head.readUInt32BE(at)));
  return found ? info('drbd') : undefined;
}
