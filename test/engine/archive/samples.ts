/** A small archive of two made-up images, and what is in it. */
import { randomBytes } from 'node:crypto';
import { cellsOf } from '../../../src/engine/archive/cells.ts';
import { checkArchive } from '../../../src/engine/archive/check.ts';
import type { ArchiveLayout } from '../../../src/engine/archive/layout.ts';
import { openArchive } from '../../../src/engine/archive/open.ts';
import type { BlobSink } from '../../../src/engine/archive/store.ts';
import { ArchiveWriter, type ArchiveWriterOptions, type WrittenArchive } from '../../../src/engine/archive/writer.ts';
import { Zstd } from '../../../src/engine/archive/zstd.ts';
import { end } from '../../../src/engine/image/contract.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';

export const MiB = 1 << 20;

export interface Sample {
  readonly layout: ArchiveLayout;
  /** The whole images by name, zeros where nothing is known. */
  readonly contents: ReadonlyMap<string, Uint8Array>;
}

/** `cells` cells with data in the first image, and a second one that is nearly empty. */
export function sample(cells = 5): Sample {
  const size = (cells + 2) * MiB;
  const data = IntervalSet.of(
    { offset: 4096, length: 8192 },
    // Over the edge of a cell.
    { offset: MiB - 4096, length: (cells - 1) * MiB },
    { offset: size - 512, length: 512 },
  );
  const zero = IntervalSet.of({ offset: 64 << 10, length: 64 << 10 });
  const first = new Uint8Array(size);
  for (const range of data) first.set(filled(range.length), range.offset);
  // Two cells with the same content: one blob.
  if (cells > 3) first.copyWithin(2 * MiB, MiB, 2 * MiB);
  const second = new Uint8Array(4096);
  second.fill(1, 512, 1024);
  return {
    layout: {
      segmentSize: MiB,
      images: [
        { name: 'disk0', size, sectorSize: 512, data, zero },
        {
          name: 'memory',
          size: 4096,
          sectorSize: 512,
          data: IntervalSet.of({ offset: 512, length: 512 }),
          zero: IntervalSet.empty,
        },
      ],
      machine: { what: 'a sample' },
    },
    contents: new Map([
      ['disk0', first],
      ['memory', second],
    ]),
  };
}

function filled(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 512) bytes.set(at % 2048 === 0 ? randomBytes(64) : Buffer.from(`sector ${at}`), at);
  return bytes;
}

/** Reads all of an archive. @throws what is wrong with it */
export async function checkWhole(path: string): Promise<void> {
  const archive = await openArchive(path);
  try {
    await checkArchive(archive);
  } finally {
    await archive.close();
  }
}

export async function write(
  { layout, contents }: Sample,
  sink: BlobSink,
  wishes: Partial<ArchiveWriterOptions> = {},
): Promise<WrittenArchive> {
  const options = {
    zstd: Zstd.usual(),
    level: 3,
    platform: { architecture: 'amd64', os: 'linux' },
    labels: { 'vnd.doppel.host': 'sample' },
    ...wishes,
  };
  const writer = await ArchiveWriter.begin(sink, layout, options);
  for (const image of layout.images) {
    const whole = contents.get(image.name) as Uint8Array;
    for (const cell of cellsOf(image, layout.segmentSize)) {
      const content = Buffer.concat(cell.ranges.map((range) => whole.subarray(range.offset, end(range))));
      await writer.put(await writer.pack(cell, content));
    }
  }
  return writer.finish();
}
