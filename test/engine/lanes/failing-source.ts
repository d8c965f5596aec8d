/** A source that fails as a disk with bad sectors does: every read that touches one fails with EIO. */
import type { ByteRange, ImageSource } from '../../../src/engine/image/contract.ts';
import { overlaps } from '../../../src/engine/image/contract.ts';
import { ImageIoError } from '../../../src/engine/image/errors.ts';

export function failingSource(
  source: ImageSource,
  bad: readonly ByteRange[],
  options: { readonly code?: string; readonly onRead?: (range: ByteRange) => void } = {},
): ImageSource {
  const { code = 'EIO', onRead } = options;
  return {
    name: source.name,
    size: source.size,
    sectorSize: source.sectorSize,
    physicalSectorSize: source.physicalSectorSize,
    extents: () => source.extents(),
    async read(into, offset) {
      const range = { offset, length: into.length };
      onRead?.(range);
      if (bad.some((each) => overlaps(each, range))) {
        throw new ImageIoError(source.name, 'read', { ...range, cause: Object.assign(new Error(`${code}: injected`), { code }) });
      }
      await source.read(into, offset);
    },
    close: () => source.close(),
  };
}
