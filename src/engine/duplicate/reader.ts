/** The reader of a source: what becomes of sectors that fail is decided in one place, for the copy and for its verification. */
import type { ImageIdentity } from '../image/identity.ts';
import type { OpenImage } from '../image/open-image.ts';
import { refuseShrunk } from '../image/shrunk.ts';
import { withUnreadable } from '../image/unreadable.ts';
import { type ReadErrorPolicy, SourceReader } from '../lanes/source-reader.ts';
import type { IntervalSet } from '../protect/intervals.ts';
import { pastCache } from './past-cache.ts';

export interface ReaderOptions {
  readonly identity: ImageIdentity;
  /** What a map file says to be lost. */
  readonly knownBad: IntervalSet;
  readonly policy: ReadErrorPolicy;
}

export function readerFor(source: OpenImage, { identity, knownBad, policy }: ReaderOptions): SourceReader {
  return new SourceReader(withUnreadable(source, [...knownBad]), {
    policy,
    checkWhole: () => refuseShrunk(identity.path),
    ...pastCache(source, identity, knownBad),
  });
}
