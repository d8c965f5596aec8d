/**
 * The boot sector of NTFS. Format: the NTFS documentation of the Linux-NTFS project, "$Boot". The copy of the boot sector stands
 * behind the last cluster, in the sector that the file system's own count leaves out.
 */
import { isPowerOfTwo, u64le } from '../bytes.ts';

export interface NtfsShape {
  readonly sectorBytes: number;
  readonly clusterBytes: number;
  /** Bytes that the boot sector claims; the copy of the boot sector comes behind them. */
  readonly size: number;
  readonly clusters: number;
  /** Size of a record of the master file table. */
  readonly recordBytes: number;
  readonly mftCluster: number;
  readonly mirrorCluster: number;
  /** As blkid writes it. */
  readonly serial: string;
}

/** Undefined when the sector is not that of an NTFS volume or makes no sense. */
export function parseBootSector(sector: Buffer): NtfsShape | undefined {
  if (sector.toString('latin1', 3, 11) !== 'NTFS    ') return undefined;
  const sectorBytes = sector.readUInt16LE(11);
  const code = sector[13] as number;
  const clusterBytes = sectorBytes * (code > 128 ? 2 ** (256 - code) : code);
  if (!isPowerOfTwo(sectorBytes) || sectorBytes < 256 || sectorBytes > 4096) return undefined;
  if (!isPowerOfTwo(clusterBytes) || clusterBytes > 2 ** 21) return undefined;
  const perRecord = sector.readInt8(64);
  const recordBytes = perRecord > 0 ? perRecord * clusterBytes : 2 ** -perRecord;
  if (!isPowerOfTwo(recordBytes) || recordBytes < 512 || recordBytes > 65536) return undefined;
  const size = u64le(sector, 40) * sectorBytes;
  return {
    sectorBytes,
    clusterBytes,
    size,
    clusters: Math.floor(size / clusterBytes),
    recordBytes,
    mftCluster: u64le(sector, 48),
    mirrorCluster: u64le(sector, 56),
    serial: sector.readBigUInt64LE(72).toString(16).toUpperCase().padStart(16, '0'),
  };
}
