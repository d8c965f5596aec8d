/** How a source is read where the page cache would hide which sectors fail. */
import type { ImageIdentity } from '../image/identity.ts';
import type { SourceImage } from '../image/open-image.ts';
import { failingRead } from '../image/unreadable.ts';
import type { SourceReaderOptions } from '../lanes/source-reader.ts';
import type { IntervalSet } from '../protect/intervals.ts';

/** Only where there is a cache between us and the medium: servers, containers and archives read for themselves. `lost` fails there too. */
export function pastCache(
  source: SourceImage,
  { kind, format }: Pick<ImageIdentity, 'kind' | 'format'>,
  lost: IntervalSet,
): Pick<SourceReaderOptions, 'openDirect'> {
  if (kind === 'nbd' || kind === 'archive' || format !== undefined) return {};
  const ranges = [...lost];
  return {
    async openDirect() {
      const medium = await source.readBack();
      return { read: failingRead(source.name, (into, offset) => medium.read(into, offset), ranges), close: () => medium.close() };
    },
  };
}
