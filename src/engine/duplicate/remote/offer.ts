/** What a target holds already, told to the one who sends: so that it is not sent again. Offsets and lengths are bytes. */
import { cellsOf, unpacked } from '../../archive/cells.ts';
import { contentDigest } from '../../archive/content-digest.ts';
import type { ArchivedImage, ArchiveLayout } from '../../archive/layout.ts';
import { end } from '../../image/contract.ts';
import { findIncomplete } from '../../layout/fence-table.ts';
import { openForInspection } from '../../layout/part-of-disk.ts';
import { readTable } from '../../layout/table.ts';

/** At both ends of a disk stand what the fence writes. */
const EDGE = 1 << 20;

/** Whether a run that did not finish has left something on the target. */
export async function isFenced(target: string): Promise<boolean> {
  const image = await openForInspection(target);
  try {
    const table = await readTable(image);
    return table !== undefined && findIncomplete(table) !== undefined;
  } finally {
    await image.close();
  }
}

/** The digest of each cell of `image` as the target has it, by where the cell begins. */
export async function heldCells(
  target: string,
  { segmentSize }: Pick<ArchiveLayout, 'segmentSize'>,
  image: ArchivedImage,
  signal: AbortSignal,
): Promise<Map<number, string>> {
  const held = new Map<number, string>();
  const disk = await openForInspection(target);
  try {
    const medium = await disk.readBack();
    try {
      for (const cell of cellsOf(image, segmentSize)) {
        signal.throwIfAborted();
        if (cell.ranges.some((range) => range.offset < EDGE || end(range) > disk.size - EDGE)) continue;
        const content = new Uint8Array(cell.length);
        for (const { range, bytes } of unpacked(cell, content)) await medium.read(bytes, range.offset);
        held.set(cell.offset, contentDigest(content));
      }
    } finally {
      await medium.close();
    }
  } finally {
    await disk.close();
  }
  return held;
}
