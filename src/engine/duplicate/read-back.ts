/** Whether the medium holds what the copy wrote; if not, where exactly. */
import { ArchiveIoError } from '../archive/errors.ts';
import type { ByteRange, CacheBypass, GuardedTarget, ImageSource, ReadBack } from '../image/contract.ts';
import { end } from '../image/contract.ts';
import { isMediumError } from '../image/errors.ts';
import type { DigestLog } from '../lanes/digests.ts';
import { firstDifference } from '../lanes/read-back.ts';
import { allocationOf } from './contents.ts';
import { TargetDiffersError } from './errors.ts';
import type { ClonePlan } from './plan.ts';
import type { TargetEvents } from './target-events.ts';

export interface VerifyCopyRequest {
  readonly plan: ClonePlan;
  readonly source: ImageSource;
  readonly target: GuardedTarget;
  readonly digests: DigestLog;
  readonly events: TargetEvents;
  readonly signal: AbortSignal | undefined;
}

/** @throws TargetDiffersError with the first differing bytes, the part that they belong to, and what stands there */
export async function verifyCopy(request: VerifyCopyRequest): Promise<CacheBypass> {
  const { events } = request;
  events.phase('verify', 'Reading back');
  const bypass = await readBackCopy(request);
  if (bypass === 'none') {
    events.warning(
      'not verified past the cache: the kernel would not let go of its cached pages, so the read-back may have come from memory',
    );
  }
  return bypass;
}

async function readBackCopy({ plan, source, target, digests, events, signal }: VerifyCopyRequest): Promise<CacheBypass> {
  let total = 0;
  for (const { length } of digests) total += length;
  let done = 0;
  const onChunk = (bytes: number): void => {
    done += bytes;
    events.progress('verify', done, total);
  };
  const holes = (await allocationOf(target)).zero;
  const isHole = (range: ByteRange): boolean => holes.covers(range);
  const medium = await target.readBack();
  try {
    const chunk = await firstDifference(medium, digests, { isHole, onChunk, ...(signal === undefined ? {} : { signal }) });
    if (chunk === undefined) return medium.bypass;
    throw differs(plan, target.name, await differenceIn(chunk, source, medium));
  } finally {
    await medium.close();
  }
}

/** Where in the chunk; all of it when the source cannot be asked again. */
async function differenceIn(chunk: ByteRange, source: ImageSource, medium: ReadBack): Promise<ByteRange> {
  const wanted = new Uint8Array(chunk.length);
  const found = new Uint8Array(chunk.length);
  await medium.read(found, chunk.offset);
  try {
    await source.read(wanted, chunk.offset);
  } catch (error) {
    if (isMediumError(error) || error instanceof ArchiveIoError) return chunk;
    throw error;
  }
  return differingBytes(wanted, found, chunk);
}

function differs(plan: ClonePlan, target: string, range: ByteRange): TargetDiffersError {
  const part = plan.parts.find(
    (each) => each.fate === 'copied' && each.range.offset <= range.offset && range.offset < end(each.range),
  );
  const where = part === undefined ? 'outside every part' : `in ${part.label}, byte ${range.offset - part.range.offset} of it`;
  return new TargetDiffersError(
    `${target} does not hold what was copied: ${range.length} bytes from byte ${range.offset} on differ (${where})`,
    'The medium or its connection is failing, or the source changed meanwhile. The target stays fenced; run the command again, or use another target.',
    { range, ...(part === undefined ? {} : { part: part.label }) },
  );
}

/** The first run of differing bytes; the whole chunk when a second look finds none. */
export function differingBytes(wanted: Uint8Array, found: Uint8Array, chunk: ByteRange): ByteRange {
  const first = wanted.findIndex((byte, index) => byte !== found[index]);
  if (first < 0) return chunk;
  let last = first;
  while (last + 1 < wanted.length && wanted[last + 1] !== found[last + 1]) last++;
  return { offset: chunk.offset + first, length: last - first + 1 };
}
