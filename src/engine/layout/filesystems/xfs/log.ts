/**
 * Whether an XFS log is clean: its last record says that the file system was unmounted, and nothing stands behind it.
 * The log is a ring of 512-byte blocks that all carry the number of the turn (cycle) in which they were written; the head is
 * where that number falls by one. Format: "XFS Algorithms & Data Structures", chapter "Journaling Log".
 */
import type { ImageSource } from '../../../image/contract.ts';
import { chunkSize, readAt } from '../bytes.ts';
import { crc32c } from '../checksum.ts';
import type { XfsSuperblock } from './superblock.ts';

const basicBlock = 512;
const headerMagic = 0xfeedbabe;
/** One header block describes this many bytes of a record; longer records have more header blocks. */
const bytesPerHeader = 32768;
const maxRecord = 256 * 1024;
/** Records that may be in flight at once when the machine stops: eight of the largest. */
const torn = (8 * maxRecord) / basicBlock;
const unmountFlag = 0x20;

interface Log {
  readonly part: ImageSource;
  /** Bytes. */
  readonly offset: number;
  /** Basic blocks. */
  readonly length: number;
}

/** A sentence when the log is not clean, or makes no sense. Reads about 4 MiB of it, all of it when it seems to be empty. */
export async function whyLogUnclean(part: ImageSource, sb: XfsSuperblock): Promise<string | undefined> {
  const log: Log = { part, offset: sb.logStart * sb.blockSize, length: (sb.logBlocks * sb.blockSize) / basicBlock };
  const first = await cycleAt(log, 0);
  const last = await cycleAt(log, log.length - 1);
  if (first === 0) return (await isZero(log)) ? undefined : 'its log begins empty but is not';

  const behind = last === 0 ? 0 : first - 1;
  const full = last === first;
  if (!full && last !== behind) return `the cycle numbers of its log make no sense (${first} at its start, ${last} at its end)`;
  const head = full ? log.length : await firstWithCycle(log, behind);
  const scan =
    (await otherCycle(log, Math.max(0, head - torn), head, first)) ??
    (await otherCycle(log, head, Math.min(log.length, head + torn), behind)) ??
    (head < torn ? await otherCycle(log, Math.max(head, log.length - (torn - head)), log.length, behind) : undefined);
  if (scan !== undefined) return `its log has a torn write at block ${scan}`;
  return whyLastRecordIsNoUnmount(log, head, first, sb);
}

/** Basic blocks `[from, from + count)`. */
function blocks(log: Log, from: number, count: number): Promise<Buffer> {
  return readAt(log.part, log.offset + from * basicBlock, count * basicBlock, 'the log');
}

function cycleOf(bytes: Buffer, at: number): number {
  const word = bytes.readUInt32BE(at);
  return word === headerMagic ? bytes.readUInt32BE(at + 4) : word;
}

async function cycleAt(log: Log, block: number): Promise<number> {
  return cycleOf(await blocks(log, block, 1), 0);
}

async function isZero(log: Log): Promise<boolean> {
  const step = chunkSize / basicBlock;
  const zeros = Buffer.alloc(chunkSize);
  for (let at = 0; at < log.length; at += step) {
    const bytes = await blocks(log, at, Math.min(step, log.length - at));
    // A log may have 2 GiB: byte by byte that would take a minute.
    if (!bytes.equals(zeros.subarray(0, bytes.length))) return false;
  }
  return true;
}

/** Block 0 does not carry `cycle`, the last one does: the first that does. */
async function firstWithCycle(log: Log, cycle: number): Promise<number> {
  let low = 0;
  let high = log.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if ((await cycleAt(log, middle)) === cycle) high = middle;
    else low = middle;
  }
  return high;
}

/** The first block of `[from, to)` that carries another cycle than expected. */
async function otherCycle(log: Log, from: number, to: number, cycle: number): Promise<number | undefined> {
  const step = chunkSize / basicBlock;
  for (let at = from; at < to; at += step) {
    const count = Math.min(step, to - at);
    const bytes = await blocks(log, at, count);
    for (let i = 0; i < count; i++) if (cycleOf(bytes, i * basicBlock) !== cycle) return at + i;
  }
  return undefined;
}

async function whyLastRecordIsNoUnmount(log: Log, head: number, cycle: number, sb: XfsSuperblock): Promise<string | undefined> {
  // The record may begin at the end of the ring and end at its start.
  const reach = Math.min(log.length, (maxRecord * 2) / basicBlock);
  const wrapped = Math.max(0, reach - head);
  const bytes = Buffer.concat([
    await blocks(log, log.length - wrapped, wrapped),
    await blocks(log, head - (reach - wrapped), reach - wrapped),
  ]);
  let at = reach - 1;
  while (at >= 0 && bytes.readUInt32BE(at * basicBlock) !== headerMagic) at--;
  if (at < 0) return 'its log does not end with an unmount record';
  const place = at < wrapped ? log.length - wrapped + at : head - reach + at;
  const turn = at < wrapped ? cycle - 1 : cycle;
  const record = bytes.subarray(at * basicBlock);
  const header = record.subarray(0, basicBlock);
  const length = header.readUInt32BE(12);
  const recordSize = header.readUInt32BE(320);
  const headers = header.readUInt32BE(8) === 2 && recordSize > bytesPerHeader ? Math.ceil(recordSize / bytesPerHeader) : 1;

  const sane =
    (header.readUInt32BE(8) === 1 || header.readUInt32BE(8) === 2) &&
    header.readUInt32BE(4) === turn &&
    header.readUInt32BE(16) === turn &&
    header.readUInt32BE(20) === place &&
    length <= maxRecord;
  if (!sane) return 'the last record of its log makes no sense';
  if (!header.subarray(304, 320).equals(sb.uuid)) return 'its log belongs to another file system';
  const ends = headers * basicBlock + Math.ceil(length / basicBlock) * basicBlock;
  if (header.readUInt32BE(40) !== 1 || ends !== record.length) return 'its log does not end with an unmount record';
  if (((record[headers * basicBlock + 9] ?? 0) & unmountFlag) === 0) return 'its log does not end with an unmount record';
  if (!recordChecksumFits(record, headers, length)) return 'the checksum of the last record of its log is wrong';
  return undefined;
}

/** Zero means that the writer kept no checksums (mkfs, and kernels before 3.8). */
function recordChecksumFits(record: Buffer, headers: number, length: number): boolean {
  const stored = record.readUInt32LE(32);
  if (stored === 0) return true;
  return [328, 324].some((headerSize) => {
    let crc = crc32c(0xffffffff, record.subarray(0, 32));
    crc = crc32c(crc, new Uint8Array(4));
    crc = crc32c(crc, record.subarray(36, headerSize));
    for (let i = 1; i < headers; i++) crc = crc32c(crc, record.subarray(i * basicBlock, i * basicBlock + 260));
    crc = crc32c(crc, record.subarray(headers * basicBlock, headers * basicBlock + length));
    return ~crc >>> 0 === stored;
  });
}
