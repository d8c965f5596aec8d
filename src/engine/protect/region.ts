/** A protected region: bytes of a target that no duplication may write. */
import type { ByteRange } from '../image/contract.ts';

export type RegionCarrier = 'partition' | 'raw';

export interface Region extends ByteRange {
  readonly carrier: RegionCarrier;
  /** For messages: `profile partition 128`, `raw range at 524288`. */
  readonly name: string;
}
