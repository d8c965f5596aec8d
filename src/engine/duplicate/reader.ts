/** The reader of a source: what becomes of sectors that fail is decided in one place, for the copy and for its verification. */
import { type ByteRange, end } from '../image/contract.ts';
import type { ImageIdentity } from '../image/identity.ts';
import type { SourceImage } from '../image/open-image.ts';
import { refuseShrunk } from '../image/shrunk.ts';
import { withUnreadable } from '../image/unreadable.ts';
import { type ReadErrorPolicy, SourceReader, type SourceReaderOptions } from '../lanes/source-reader.ts';
import type { IntervalSet } from '../protect/intervals.ts';
import { pastCache } from './past-cache.ts';

export interface ReaderOptions {
  readonly identity: ImageIdentity;
  /** What a map file says to be lost. */
  readonly knownBad: IntervalSet;
  readonly policy: ReadErrorPolicy;
  readonly onAgain?: SourceReaderOptions['onAgain'];
}

export function readerFor(source: SourceImage, { identity, knownBad, policy, onAgain }: ReaderOptions): SourceReader {
  return new SourceReader(withUnreadable(source, [...knownBad]), {
    policy,
    ...(identity.kind === 'archive' ? {} : { checkWhole: () => refuseShrunk(identity.path) }),
    lostIn: (range) => touchedBy(range, knownBad),
    ...(onAgain === undefined ? {} : { onAgain }),
    ...pastCache(source, identity, knownBad),
  });
}

/** The ranges of the set that share a byte with `range`; the set may be large. */
function touchedBy(range: ByteRange, set: IntervalSet): ByteRange[] {
  const found: ByteRange[] = [];
  for (let at = range.offset; at < end(range); ) {
    const hit = set.firstTouched({ offset: at, length: end(range) - at });
    if (hit === undefined) break;
    found.push(hit);
    at = end(hit);
  }
  return found;
}
