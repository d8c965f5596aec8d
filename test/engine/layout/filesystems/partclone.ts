/** What partclone would copy of a file system: read from its domain log, which lists ranges as ddrescue does. */
import { readFile, rm } from 'node:fs/promises';
import { execa } from 'execa';
import type { ByteRange } from '../../../../src/engine/image/contract.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';

/**
 * The used bytes of an image file as `partclone.TYPE` sees them.
 * @throws when partclone refuses the image
 */
export async function usedByPartclone(type: string, image: string): Promise<IntervalSet> {
  const log = `${image}.domain`;
  await rm(log, { force: true });
  await execa(`partclone.${type}`, ['-D', '-q', '-s', image, '-o', log, '-L', `${log}.log`]);
  const ranges = [...(await readFile(log, 'utf8')).matchAll(/^(0x[0-9A-F]+) +(0x[0-9A-F]+) +\+$/gim)].map(
    ([, offset, length]): ByteRange => ({ offset: Number(offset), length: Number(length) }),
  );
  if (ranges.length === 0) throw new Error(`partclone.${type} finds nothing used in ${image}`);
  return IntervalSet.of(...ranges);
}
