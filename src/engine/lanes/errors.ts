/** Why a copy ends because of its source. Offsets and lengths are bytes. */
import { IoError } from '../errors.ts';
import type { ByteRange } from '../image/contract.ts';

/** A sector cannot be read, and that ends the copy. */
export class SourceUnreadableError extends IoError {
  constructor(source: string, range: ByteRange, sectorSize: number, cause: unknown) {
    super(
      `${range.length} bytes at byte ${range.offset} (sector ${Math.floor(range.offset / sectorSize)}) of ${source} cannot be read`,
      {
        code: 'SOURCE_UNREADABLE',
        todo:
          'The medium or its cable is failing (dmesg tells more). Either rescue it with ddrescue first and clone its image with --source-map, ' +
          'or run the same command with --on-read-error zero: what cannot be read is left out then, and you are told whose it was.',
        data: { source, ...range },
        cause,
      },
    );
  }
}

/** Every read fails: the source has vanished, and nothing is to be made up in its place. */
export class SourceGoneError extends IoError {
  constructor(source: string, offset: number, cause: unknown) {
    super(`${source} cannot be read any more: everything around byte ${offset} fails, and so does what could be read before`, {
      code: 'SOURCE_GONE',
      todo: 'Check its power, cable or connection (dmesg), then run the same command again: it goes on where it was.',
      data: { source, offset },
      cause,
    });
  }
}
