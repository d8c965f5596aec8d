/** A source that is read in another way; everything else is as it is. */
import type { ImageSource } from './contract.ts';

/** Closing it closes the source. */
export function viewOf(source: ImageSource, read: ImageSource['read']): ImageSource {
  return {
    name: source.name,
    size: source.size,
    sectorSize: source.sectorSize,
    ...(source.sectorSizeAssumed === undefined ? {} : { sectorSizeAssumed: source.sectorSizeAssumed }),
    physicalSectorSize: source.physicalSectorSize,
    extents: () => source.extents(),
    read,
    close: () => source.close(),
  };
}
