/** The first bytes of a disk without a table: its file system is not found as long as they are withheld, so they come last. */
import { type ByteRange, end, type GuardedTarget, type ImageSource } from '../image/contract.ts';
import { within } from '../lanes/ranges.ts';
import type { SourceReader } from '../lanes/source-reader.ts';
import type { ClonePlan } from './plan.ts';
import { confirm } from './table-writes.ts';

type Withheld = Pick<ClonePlan, 'withheld' | 'readErrors'>;

/** With `skip`, sectors that cannot be read keep what the target has there, also where the fence erases it: to be called before. */
export async function keepOldHead(target: ImageSource, { withheld, readErrors }: Withheld): Promise<Uint8Array | undefined> {
  if (readErrors !== 'skip') return undefined;
  const old = new Uint8Array(withheld);
  await target.read(old, 0);
  return old;
}

/** The first bytes of the source; those that are `bad` could not be read and are zeros in `bytes`. */
export interface Head {
  readonly bytes: Uint8Array;
  readonly bad: readonly ByteRange[];
}

/** The first `length` bytes. @throws as the reader's policy says */
export async function readHead(reader: SourceReader, length: number): Promise<Head> {
  const bytes = new Uint8Array(length);
  const range = { offset: 0, length };
  const lost = length === 0 ? [] : await reader.read(bytes, 0, [range]);
  return { bytes, bad: lost.length === 0 ? [] : await reader.readAgain(bytes, 0, lost) };
}

/** What one target gets of it: `old`, where the target keeps what it had. */
export function headFor({ withheld }: Withheld, { bytes, bad }: Head, old: Uint8Array | undefined): Uint8Array {
  const head = bytes.slice(0, withheld);
  if (old === undefined) return head;
  for (const range of within({ offset: 0, length: withheld }, bad))
    head.set(old.subarray(range.offset, end(range)), range.offset);
  return head;
}

/** From here on the file system is found. @throws TargetDiffersError */
export async function releaseHead(target: GuardedTarget, head: Uint8Array): Promise<void> {
  if (head.length === 0) return;
  await target.write(head, 0);
  await target.flush();
  await confirm(target, [{ offset: 0, bytes: head }]);
}
