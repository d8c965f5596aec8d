/**
 * The boot region of exFAT: twelve sectors, the last of which repeats a checksum, and their backup right behind.
 * Format: "exFAT file system specification" (Microsoft), sections 3.1 to 3.4.
 */
import type { ImageSource } from '../../../image/contract.ts';
import { insist, peek, readAt, u64le } from '../bytes.ts';
import { serialText } from '../fat/boot-sector.ts';

const regionSectors = 12;
/** Bytes of the first sector that change while the volume is in use and are left out of the checksum. */
const volatileBytes = [106, 107, 112];
const flagBits = { secondFat: 0x1, dirty: 0x2, mediaFailure: 0x4, clearToZero: 0x8 } as const;

/** Offsets and lengths are bytes. */
export interface ExfatShape {
  readonly sectorBytes: number;
  readonly clusterBytes: number;
  readonly size: number;
  readonly fatStart: number;
  readonly fatBytes: number;
  /** Where cluster 2 begins. */
  readonly heapStart: number;
  readonly clusters: number;
  readonly rootCluster: number;
  readonly fats: number;
  readonly flags: number;
  /** As `1.0`. */
  readonly version: string;
  /** As blkid writes it. */
  readonly serial: string;
}

/** Undefined when the part does not begin with a boot sector of exFAT. */
export async function readShape(part: ImageSource): Promise<ExfatShape | undefined> {
  const sector = await peek(part, 0, 512);
  const found = sector?.toString('latin1', 3, 11) === 'EXFAT   ' && sector.readUInt16LE(510) === 0xaa55;
  if (sector === undefined || !found) return undefined;
  const shift = sector[108] as number;
  const clusterShift = shift + (sector[109] as number);
  if (shift < 9 || shift > 12 || clusterShift > 25) return undefined;
  const sectorBytes = 2 ** shift;
  return {
    sectorBytes,
    clusterBytes: 2 ** clusterShift,
    size: u64le(sector, 72) * sectorBytes,
    fatStart: sector.readUInt32LE(80) * sectorBytes,
    fatBytes: sector.readUInt32LE(84) * sectorBytes,
    heapStart: sector.readUInt32LE(88) * sectorBytes,
    clusters: sector.readUInt32LE(92),
    rootCluster: sector.readUInt32LE(96),
    fats: sector[110] as number,
    flags: sector.readUInt16LE(106),
    version: `${sector[105]}.${sector[104]}`,
    serial: serialText(sector.readUInt32LE(100)),
  };
}

/** Why the volume's flags say that its map may be stale; undefined when they do not. */
export function whyUnclean(shape: ExfatShape): string | undefined {
  if (shape.flags & flagBits.dirty) return 'its dirty flag is set';
  return shape.flags & flagBits.mediaFailure ? 'it has noted failures of the medium' : undefined;
}

/** @throws NotMappableError for what is not known, does not fit together or has a wrong checksum. */
export async function checkShape(part: ImageSource, shape: ExfatShape): Promise<void> {
  insist(shape.size <= part.size, `the file system has ${shape.size} bytes, more than the part (${part.size} bytes)`);
  insist(/^1\./.test(shape.version), `exFAT version ${shape.version} is not known`);
  insist(shape.fats === 1 && (shape.flags & flagBits.secondFat) === 0, 'it has two FATs (TexFAT)');
  const strange = shape.flags & ~(flagBits.dirty | flagBits.mediaFailure | flagBits.clearToZero);
  insist(strange === 0, `the volume has flags that are not known (0x${strange.toString(16)})`);
  const fatFits =
    shape.fatStart >= 2 * regionSectors * shape.sectorBytes &&
    shape.fatBytes >= (shape.clusters + 2) * 4 &&
    shape.fatStart + shape.fatBytes <= shape.heapStart;
  insist(fatFits, 'its FAT makes no sense');
  const heapFits = shape.clusters > 0 && shape.heapStart + shape.clusters * shape.clusterBytes <= shape.size;
  insist(heapFits, `${shape.clusters} clusters do not fit into the volume (${shape.size} bytes)`);
  const region = await readAt(part, 0, regionSectors * shape.sectorBytes, 'the boot region');
  const last = region.subarray((regionSectors - 1) * shape.sectorBytes);
  const checksum = bootChecksum(region.subarray(0, last.byteOffset - region.byteOffset));
  for (let at = 0; at < last.length; at += 4) {
    insist(last.readUInt32LE(at) === checksum, 'the checksum of the boot region is wrong');
  }
}

function bootChecksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (!volatileBytes.includes(i)) sum = (((sum << 31) | (sum >>> 1)) + (bytes[i] as number)) >>> 0;
  }
  return sum;
}
