/** A write that would have touched a protected region, stopped before it happened. */
import { RefusedError } from '../errors.ts';
import type { ByteRange } from '../image/contract.ts';
import type { Region } from './region.ts';

export class ProtectedRegionError extends RefusedError {
  constructor(image: string, operation: string, range: ByteRange, region: Region) {
    super(
      `${operation} of ${range.length} bytes at byte ${range.offset} of ${image} would touch the protected region "${region.name}" (${region.length} bytes at byte ${region.offset})`,
      {
        code: 'PROTECTED_REGION',
        todo: 'Nothing was written there. The plan should have gone around the region: please report this as a bug.',
        data: { image, operation, range, region },
      },
    );
  }
}
