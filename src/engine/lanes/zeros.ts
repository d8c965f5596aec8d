/** Finds zeros in data, so that holes stay holes. */

/** Shorter runs of zeros are written as data: a hole saves nothing there and costs a call. */
const GRAIN = 1 << 16;
const zeros = Buffer.alloc(GRAIN);

export interface Run {
  /** Offset in the buffer, in bytes. */
  readonly start: number;
  readonly end: number;
  readonly zero: boolean;
}

export function isZero(bytes: Uint8Array): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < buffer.length; at += GRAIN) {
    const end = Math.min(at + GRAIN, buffer.length);
    if (buffer.compare(zeros, 0, end - at, at, end) !== 0) return false;
  }
  return true;
}

/** Splits a buffer into runs of zeros and of data, alternating, in grains of 64 KiB. */
export function runsOf(bytes: Uint8Array): Run[] {
  const runs: Run[] = [];
  for (let start = 0; start < bytes.length; start += GRAIN) {
    const end = Math.min(start + GRAIN, bytes.length);
    const zero = isZero(bytes.subarray(start, end));
    const last = runs.at(-1);
    if (last?.zero === zero) runs[runs.length - 1] = { ...last, end };
    else runs.push({ start, end, zero });
  }
  return runs;
}
