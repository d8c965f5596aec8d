/** An MBR table says nowhere how large its sectors are, and neither does a file: what stands where its parts would begin tells. */
import type { ImageSource } from '../image/contract.ts';
import { isMediumError } from '../image/errors.ts';
import { slice } from '../image/slice.ts';
import type { TableEntry } from './contract.ts';
import { sectorSizeOfFence } from './fence-table.ts';
import { identifyFileSystem } from './filesystems.ts';
import { extendedTypes, readBootSector } from './mbr.ts';
import { entryRange } from './table-space.ts';

const large = 4096;

/**
 * `image` as a disk with sectors of 4096 bytes, when a fence says so, or when only at such a known file system begins where the
 * table of sector 0 has a part; else as it is. Only for images whose sector size is a guess.
 * @throws ImageIoError
 */
export async function withSectorsOfMbr(image: ImageSource, entries: readonly TableEntry[]): Promise<ImageSource> {
  if (image.sectorSize >= large || image.size < large) return image;
  const sector = new Uint8Array(large);
  await image.read(sector, 0);
  if (readBootSector(sector, Math.floor(image.size / large)).verdict !== 'table') return image;
  const view = { ...slice(image, { offset: 0, length: image.size }), sectorSize: large };
  const fenced = sectorSizeOfFence(sector);
  if (fenced !== undefined) return fenced === large ? view : image;
  const parts = entries.filter(({ type }) => !extendedTypes.has(type));
  if ((await holdsAny(image, parts, image.sectorSize)) || !(await holdsAny(image, parts, large))) return image;
  return view;
}

/** What cannot be read may hold something. */
async function holdsAny(image: ImageSource, entries: readonly TableEntry[], sectorSize: number): Promise<boolean> {
  for (const entry of entries) {
    try {
      if ((await identifyFileSystem(slice(image, entryRange(entry, sectorSize)))) !== undefined) return true;
    } catch (error) {
      if (!isMediumError(error)) throw error;
      return true;
    }
  }
  return false;
}
