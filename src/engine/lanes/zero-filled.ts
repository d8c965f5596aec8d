/** A view of a failing source for whoever looks for structures that have copies or checksums of their own. */
import type { ByteRange, ImageSource } from '../image/contract.ts';
import { viewOf } from '../image/view.ts';
import { SourceReader, type SourceReaderOptions } from './source-reader.ts';

export interface ZeroFilled {
  /** Sectors that cannot be read are zeros in it. Must be closed, which leaves the source open. */
  readonly image: ImageSource;
  /** Those that were met so far. @throws SourceGoneError when nothing can be read any more */
  bad(): Promise<readonly ByteRange[]>;
}

export function zeroFilled(source: ImageSource, options: Pick<SourceReaderOptions, 'openDirect'> = {}): ZeroFilled {
  const reader = new SourceReader(source, { ...options, policy: 'zero' });
  const view = viewOf(source, async (into, offset) => {
    await reader.read(into, offset, [{ offset, length: into.length }]);
  });
  return {
    image: { ...view, close: () => reader.close() },
    async bad() {
      await reader.settle();
      return reader.bad;
    },
  };
}
