/** Carries a capture out: cells are read, packed and compressed side by side, and written in their order. */
import type { Archive } from '../archive/archive.ts';
import { BaseSegments } from '../archive/base.ts';
import { type Cell, cellsOf } from '../archive/cells.ts';
import type { ArchivedImage } from '../archive/layout.ts';
import type { BlobSink } from '../archive/store.ts';
import { ArchiveWriter, type ArchiveWriterOptions, type PackedSegment, type WrittenArchive } from '../archive/writer.ts';
import { ignoreEvents, type RunOptions } from '../events.ts';
import { alignedBuffers } from '../image/aligned.ts';
import { type ByteRange, end } from '../image/contract.ts';
import type { CapturePlan } from './capture-plan.ts';
import { openPlannedSource } from './open-source.ts';
import { readerFor } from './reader.ts';

export interface CaptureOptions extends Omit<ArchiveWriterOptions, 'base' | 'bundle'> {
  /** With segments of the size that the plan has. */
  readonly base?: Archive;
}

export interface CaptureResult extends WrittenArchive {
  /** Bytes of the images that are in it. */
  readonly data: number;
  /** Which codec compressed it. */
  readonly codec: string;
  /** Could not be read, and are zeros in it. */
  readonly unreadable: readonly ByteRange[];
  readonly seconds: number;
}

/** Bytes that the lanes hold of the source. */
const IN_FLIGHT = 32 << 20;
const MOST_LANES = 4;

/**
 * The sink is finished then; after an error, aborted.
 * @throws CloneRefusedError when the source is not what the plan was made for; SourceChangedError; SourceUnreadableError; ImageIoError;
 * ArchiveIoError; the signal's reason
 */
export async function executeCapture(
  plan: CapturePlan,
  sink: BlobSink,
  { base, ...options }: CaptureOptions,
  run: RunOptions = {},
): Promise<CaptureResult> {
  try {
    const onDamaged = (message: string): void => run.onEvent?.({ type: 'warning', message });
    const { profile } = plan;
    const beside = profile === undefined ? {} : { bundle: profile.file };
    const reuse = base === undefined ? {} : { base: new BaseSegments(base, onDamaged) };
    const writer = await ArchiveWriter.begin(sink, plan.layout, { ...options, ...reuse, ...beside });
    const captured = await captureInto(writer, plan, run);
    return { ...captured, codec: options.zstd.name };
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

export interface CaptureIntoOptions extends RunOptions {
  /** Where the archive goes has the content of a cell already: by where that begins, with its digest. */
  readonly have?: ReadonlyMap<number, string>;
}

/** Behind the layout. @throws as `executeCapture`; whoever made the writer aborts its sink then */
export async function captureInto(
  writer: ArchiveWriter,
  plan: CapturePlan,
  run: CaptureIntoOptions = {},
): Promise<Omit<CaptureResult, 'codec'>> {
  const { signal, onEvent = ignoreEvents, have } = run;
  const begun = performance.now();
  const [image] = plan.layout.images as [ArchivedImage];
  const { source: identity, knownBad, readErrors: policy, layout } = plan;
  const planned = { ...plan, sighting: plan.precondition };
  const { image: source, settle, lost } = await openPlannedSource(planned, run);
  try {
    const reader = readerFor(source, { identity, knownBad, policy });
    try {
      onEvent({ type: 'phase', phase: 'capture', title: 'Capturing' });
      let done = 0;
      // Archives are read at rest: all of it is known.
      const before = lost();
      const pack = async (cell: Cell, buffer: Uint8Array): Promise<PackedSegment> => {
        const bad = await reader.read(buffer, cell.offset, cell.ranges);
        const zeros = [...bad, ...cell.ranges.flatMap((range) => [...before.within(range)])];
        const packed = await writer.pack(cell, squeezed(cell, buffer), { held: have?.get(cell.offset), lost: zeros });
        done += cell.length;
        onEvent({ type: 'progress', phase: 'capture', done, total: image.data.bytes });
        return packed;
      };
      for await (const packed of inOrder(cellsOf(image, layout.segmentSize), layout.segmentSize, pack, signal))
        await writer.put(packed);
      await reader.settle();
      await settle();
      reader.noteLost(before);
      onEvent({ type: 'phase', phase: 'flush', title: 'Waiting until everything is on stable storage' });
      const written = await writer.finish();
      const seconds = (performance.now() - begun) / 1000;
      return { ...written, data: image.data.bytes, unreadable: reader.bad, seconds };
    } finally {
      await reader.close();
    }
  } finally {
    await source.close();
  }
}

/** A few cells are worked on at a time, each with a buffer of its own; the results come in the order of the cells. */
async function* inOrder<T>(
  cells: Iterable<Cell>,
  segmentSize: number,
  work: (cell: Cell, buffer: Uint8Array) => Promise<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, void> {
  const lanes = Math.max(1, Math.min(MOST_LANES, Math.floor(IN_FLIGHT / segmentSize)));
  const free = alignedBuffers(lanes, segmentSize);
  const underWay: { readonly result: Promise<T>; readonly buffer: Uint8Array }[] = [];
  const next = async (): Promise<T> => {
    const { result, buffer } = underWay.shift() as (typeof underWay)[number];
    const value = await result;
    free.push(buffer);
    return value;
  };
  try {
    for (const cell of cells) {
      signal?.throwIfAborted();
      if (free.length === 0) yield await next();
      const buffer = free.pop() as Uint8Array;
      const result = work(cell, buffer);
      result.catch(() => {});
      underWay.push({ result, buffer });
    }
    while (underWay.length > 0) yield await next();
  } finally {
    // What they read from is closed then.
    await Promise.allSettled(underWay.map(({ result }) => result));
  }
}

/** Moves the ranges of a cell together, at the front of the buffer that holds the cell. */
function squeezed({ offset, ranges }: Cell, buffer: Uint8Array): Uint8Array {
  let length = 0;
  for (const range of ranges) {
    buffer.copyWithin(length, range.offset - offset, end(range) - offset);
    length += range.length;
  }
  return buffer.subarray(0, length);
}
