/** How fast a source can be read, from a short sample. */
import type { ImageSource } from '../image/contract.ts';
import { isMediumError } from '../image/errors.ts';
import type { IntervalSet } from '../protect/intervals.ts';

const SAMPLES = 8;
/** Bytes. */
const SAMPLE = 1 << 20;

/** Bytes per second of the source alone; undefined when there is nothing to read. A guess: caches flatter it. */
export async function sampleRate(image: ImageSource, data: IntervalSet): Promise<number | undefined> {
  const ranges = [...data].filter(({ length }) => length >= SAMPLE);
  const step = Math.max(1, Math.floor(ranges.length / SAMPLES));
  const bytes = new Uint8Array(SAMPLE);
  let read = 0;
  const begun = performance.now();
  for (let i = 0; i < ranges.length && read < SAMPLES * SAMPLE; i += step) {
    try {
      await image.read(bytes, (ranges[i] as { offset: number }).offset);
      read += SAMPLE;
    } catch (error) {
      // The copy will find out whether that matters.
      if (!isMediumError(error)) throw error;
    }
  }
  const seconds = (performance.now() - begun) / 1000;
  return read === 0 || seconds === 0 ? undefined : read / seconds;
}
