/** The last line of defence: a target that refuses every write that touches a protected region, whoever asks. */
import { type ByteRange, type GuardedTarget, type ImageTarget, overlaps } from '../image/contract.ts';
import { checkRange } from '../image/raw-io.ts';
import { ProtectedRegionError } from './errors.ts';
import type { Region } from './region.ts';

/** Only what comes out of here may be written to. Closing it closes the target. */
export function guard(target: ImageTarget, regions: readonly Region[]): GuardedTarget {
  const check = (operation: string, range: ByteRange): void => {
    const touched = regions.find((region) => overlaps(region, range));
    if (touched !== undefined) throw new ProtectedRegionError(target.name, operation, range, touched);
  };
  const openWindow: ImageTarget['openWindow'] = async (range, options) => {
    check('a window', range);
    checkRange(target.name, 'open', range.offset, range.length, target.size);
    return target.openWindow(range, options);
  };
  const checked: ImageTarget & Pick<GuardedTarget, 'window'> = {
    name: target.name,
    size: target.size,
    sectorSize: target.sectorSize,
    physicalSectorSize: target.physicalSectorSize,
    ...(target.sectorSizeAssumed === undefined ? {} : { sectorSizeAssumed: target.sectorSizeAssumed }),
    extents: () => target.extents(),
    read: (into: Uint8Array, offset: number) => target.read(into, offset),
    async write(from: Uint8Array, offset: number) {
      check('a write', { offset, length: from.length });
      await target.write(from, offset);
    },
    async zero(offset: number, length: number) {
      check('zeroing', { offset, length });
      await target.zero(offset, length);
    },
    async discard(offset: number, length: number) {
      check('a discard', { offset, length });
      await target.discard(offset, length);
    },
    startWriteback: (offset: number, length: number) => target.startWriteback(offset, length),
    async reserve(offset: number, length: number) {
      check('a reservation', { offset, length });
      await target.reserve?.(offset, length);
    },
    flush: () => target.flush(),
    readBack: (only) => target.readBack(only),
    openWindow,
    window: (range, options = {}) => openWindow(range, { readOnly: options.readOnly === true }),
    close: () => target.close(),
  };
  return checked as GuardedTarget;
}
