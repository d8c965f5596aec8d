/** The boot sector of FAT12, FAT16 and FAT32, and where it says that everything stands. All numbers in bytes but clusters. */
import { isPowerOfTwo } from '../bytes.ts';

export interface FatShape {
  readonly bits: 12 | 16 | 32;
  readonly size: number;
  readonly clusterBytes: number;
  /** Clusters of data; they are numbered from 2. */
  readonly clusters: number;
  readonly fats: number;
  readonly fatStart: number;
  readonly fatBytes: number;
  /** The fixed root directory of FAT12 and FAT16; its length is 0 for FAT32. */
  readonly rootStart: number;
  readonly rootBytes: number;
  /** FAT32 only. */
  readonly rootCluster: number;
  readonly mirrored: boolean;
  readonly dataStart: number;
  readonly dirty: boolean;
  /** `1234-ABCD`, or empty. */
  readonly serial: string;
}

/** Names in bytes 3 to 10 of file systems that keep something else behind a similar boot sector. */
const otherNames = ['NTFS    ', 'EXFAT   ', '-FVE-FS-'];
/** Dirty, and "surface scan wanted". */
const dirtyBits = 0x3;

/** Undefined unless the sector is the boot sector of a FAT file system in every respect. */
export function parseBootSector(sector: Buffer): FatShape | undefined {
  const jump = sector[0];
  if (sector.readUInt16LE(510) !== 0xaa55 || (jump !== 0xeb && jump !== 0xe9)) return undefined;
  if (otherNames.includes(sector.toString('latin1', 3, 11))) return undefined;
  const sectorBytes = sector.readUInt16LE(11);
  const clusterSectors = sector[13] as number;
  const reserved = sector.readUInt16LE(14);
  const fats = sector[16] as number;
  const rootEntries = sector.readUInt16LE(17);
  const media = sector[21] as number;
  const sectors = sector.readUInt16LE(19) || sector.readUInt32LE(32);
  const is32 = sector.readUInt16LE(22) === 0;
  const fatSectors = is32 ? sector.readUInt32LE(36) : sector.readUInt16LE(22);
  const sane =
    isPowerOfTwo(sectorBytes) &&
    sectorBytes >= 512 &&
    sectorBytes <= 4096 &&
    isPowerOfTwo(clusterSectors) &&
    reserved > 0 &&
    fats >= 1 &&
    fats <= 4 &&
    (media === 0xf0 || media >= 0xf8) &&
    fatSectors > 0 &&
    (is32 ? rootEntries === 0 && sector.readUInt16LE(42) === 0 : rootEntries > 0 && (rootEntries * 32) % sectorBytes === 0);
  if (!sane) return undefined;

  const rootSectors = (rootEntries * 32) / sectorBytes;
  const dataSector = reserved + fats * fatSectors + rootSectors;
  const clusters = Math.floor((sectors - dataSector) / clusterSectors);
  const bits = is32 ? 32 : clusters < 4085 ? 12 : 16;
  const most = { 12: 4084, 16: 65524, 32: 0xffffff5 }[bits];
  if (clusters < 1 || clusters > most || fatSectors * sectorBytes * 8 < (clusters + 2) * bits) return undefined;
  const extended = is32 ? 66 : 38;
  return {
    bits,
    size: sectors * sectorBytes,
    clusterBytes: clusterSectors * sectorBytes,
    clusters,
    fats,
    fatStart: reserved * sectorBytes,
    fatBytes: fatSectors * sectorBytes,
    rootStart: (dataSector - rootSectors) * sectorBytes,
    rootBytes: rootSectors * sectorBytes,
    rootCluster: is32 ? sector.readUInt32LE(44) : 0,
    mirrored: !is32 || (sector.readUInt16LE(40) & 0x80) === 0,
    dataStart: dataSector * sectorBytes,
    dirty: ((sector[extended - 1] as number) & dirtyBits) !== 0,
    serial: sector[extended] === 0x29 || sector[extended] === 0x28 ? serialText(sector.readUInt32LE(extended + 1)) : '',
  };
}

/** How the serial numbers of FAT and exFAT are written. */
export function serialText(serial: number): string {
  const hex = serial.toString(16).toUpperCase().padStart(8, '0');
  return `${hex.slice(0, 4)}-${hex.slice(4)}`;
}
