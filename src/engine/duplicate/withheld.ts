/** The first bytes of a disk without a table: its file system is not found as long as they are withheld, so they come last. */
import { end, type GuardedTarget, type ImageSource } from '../image/contract.ts';
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

/** What the source has there; where it cannot be read, what the target had, or zeros. @throws as the reader's policy says */
export async function readHead(reader: SourceReader, { withheld }: Withheld, old: Uint8Array | undefined): Promise<Uint8Array> {
  const head = new Uint8Array(withheld);
  if (withheld === 0) return head;
  const bad = await reader.read(head, 0, [{ offset: 0, length: withheld }]);
  for (const range of bad) head.set(old?.subarray(range.offset, end(range)) ?? [], range.offset);
  return head;
}

/** From here on the file system is found. @throws TargetDiffersError */
export async function releaseHead(target: GuardedTarget, head: Uint8Array): Promise<void> {
  if (head.length === 0) return;
  await target.write(head, 0);
  await target.flush();
  await confirm(target, [{ offset: 0, bytes: head }]);
}
