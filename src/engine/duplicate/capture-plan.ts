/** The plan of a capture: what of a source goes into an archive. Offsets and lengths are bytes. */
import type { ArchiveAccess } from '../archive/access.ts';
import type { ArchiveLayout } from '../archive/layout.ts';
import { segmentSizes } from '../archive/layout.ts';
import { ignoreEvents, type RunOptions } from '../events.ts';
import type { ByteRange } from '../image/contract.ts';
import type { ImageIdentity } from '../image/identity.ts';
import type { ReadErrorPolicy } from '../lanes/source-reader.ts';
import type { PartKind } from '../layout/contract.ts';
import { describeType } from '../layout/kinds.ts';
import type { SystemInfo } from '../persona/system.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { type CapturedProfile, capturedProfile } from './captured-profile.ts';
import type { Contents } from './contents.ts';
import type { Part } from './disk.ts';
import { encodeMachine } from './machine.ts';
import { nothingLeft, refuseLost } from './plan-refusals.ts';
import { isChosen } from './plan-table.ts';
import { gapsOf } from './plan-work.ts';
import type { Sighting } from './preconditions.ts';
import { sampleRate } from './sample-rate.ts';
import { type Source, type SourceRequest, withSource } from './source.ts';

/** As of a clone, but for what is about a target. */
export interface CaptureRequest extends SourceRequest {
  readonly readErrors: Exclude<ReadErrorPolicy, 'skip'>;
  /** Bytes; default by the size of the data. */
  readonly segmentSize?: number;
  /** Of age: who can read the profile of the source, which is captured then. */
  readonly profileTo?: readonly string[];
}

export interface CapturedPart {
  readonly number: number;
  readonly label: string;
  readonly kind: PartKind;
  /** File system type, or a description of the partition's type. */
  readonly holds: string;
  readonly mountPoint?: string;
  readonly range: ByteRange;
  readonly fate: 'captured' | 'left out' | 'protected';
  readonly data: number;
  readonly zero: number;
  readonly how: string;
}

export interface CapturePlan {
  readonly source: ImageIdentity;
  /** How to open it again, if it is an archive. */
  readonly access?: ArchiveAccess;
  readonly sourceSystem?: SystemInfo;
  readonly parts: readonly CapturedPart[];
  /** With one image. */
  readonly layout: ArchiveLayout;
  /** Of the source. */
  readonly profile?: CapturedProfile;
  readonly readErrors: CaptureRequest['readErrors'];
  /** Bytes of the source that a map file says to be lost. */
  readonly knownBad: IntervalSet;
  /** Others may write to the source meanwhile, and the user said that this is fine. */
  readonly inconsistent: boolean;
  /** Seconds, from a sample of the source's speed; absent when there is nothing to read. */
  readonly expectedSeconds?: number;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  readonly precondition: Sighting;
}

/** Segments of one archive, so that the documents that name them stay small enough for registries. */
const MOST_SEGMENTS = 500_000;

/** @throws CloneRefusedError and the errors of everything that is looked at; writes nothing */
export function planCapture(request: CaptureRequest, run: RunOptions = {}): Promise<CapturePlan> {
  const { onEvent = ignoreEvents } = run;
  onEvent({ type: 'phase', phase: 'plan', title: 'Looking at the disk' });
  return withSource(request, (source) => planOf(request, source), run);
}

async function planOf(request: CaptureRequest, source: Source): Promise<CapturePlan> {
  const { disk, image, allocation, knownBad } = source;
  const regions = IntervalSet.of(...disk.regions);
  const contents = new Map<number, Contents>();
  for (const part of disk.parts)
    if (part.kind !== 'profile' && isChosen(part.kind, request.kinds)) contents.set(part.number, await source.contentsOf(part));
  if (contents.size === 0) throw nothingLeft('captured', disk);
  const gaps = request.exact ? gapsOf(disk, disk, disk.size) : IntervalSet.empty;
  const unite = (pick: (each: Contents) => IntervalSet) =>
    [...contents.values()].reduce((sum, each) => sum.union(pick(each)), IntervalSet.empty);
  // Nothing of a profile leaves its disk, whatever stands around it.
  const data = unite((each) => each.data)
    .union(source.loaders)
    .union(gaps.intersect(allocation.data))
    .subtract(regions);
  const zero = unite((each) => each.zero)
    .union(gaps.intersect(allocation.zero))
    .subtract(regions)
    .subtract(data);
  const lost = knownBad.intersect(data);
  refuseLost(request, disk.name, lost);
  const profile = request.profileTo && (await capturedProfile(source, request.profileTo));
  const name = 'disk0';
  const rate = await sampleRate(image, data.subtract(knownBad));
  return {
    source: source.identity,
    ...(request.access === undefined ? {} : { access: request.access }),
    ...(disk.system === undefined ? {} : { sourceSystem: disk.system }),
    parts: disk.parts.map((part) => capturedPart(part, contents.get(part.number), disk.table?.kind ?? 'gpt')),
    layout: {
      segmentSize: request.segmentSize ?? segmentSizeFor(data.bytes),
      images: [{ name, size: disk.size, sectorSize: image.sectorSize, data, zero }],
      machine: encodeMachine(name, disk, contents, request.kinds),
    },
    ...(profile === undefined ? {} : { profile }),
    readErrors: request.readErrors,
    knownBad,
    inconsistent: request.allowInconsistent,
    ...(rate === undefined ? {} : { expectedSeconds: data.bytes / rate }),
    notes: [
      ...disk.notes,
      ...image.notes,
      ...(source.carriesProfile && profile === undefined
        ? ['the profile of the source is not captured: --profile-to RECIPIENT takes it along, encrypted']
        : []),
    ],
    warnings: warningsOf(source, lost),
    precondition: await source.sighting(),
  };
}

function segmentSizeFor(bytes: number): number {
  let size: number = segmentSizes.usual;
  while (bytes / size > MOST_SEGMENTS && size < segmentSizes.largest) size *= 2;
  return size;
}

function capturedPart(part: Part, contents: Contents | undefined, table: 'gpt' | 'mbr'): CapturedPart {
  const { number, label, kind, range, mountPoint, fs, entry } = part;
  return {
    number,
    label,
    kind,
    holds: fs?.type ?? (entry === undefined ? 'unknown' : describeType(table, entry.type)),
    ...(mountPoint === undefined ? {} : { mountPoint }),
    range,
    fate: kind === 'profile' ? 'protected' : contents === undefined ? 'left out' : 'captured',
    data: contents?.data.bytes ?? 0,
    zero: contents?.zero.bytes ?? 0,
    how: contents?.how ?? (kind === 'profile' ? 'a profile stays where it is' : 'its kind is not captured'),
  };
}

function warningsOf({ disk, writers }: Source, lost: IntervalSet): string[] {
  return [
    ...writers.map(({ what }) => `the source is in use: ${what}; what is captured may fit together nowhere`),
    ...(lost.count === 0 ? [] : [`${lost.bytes} bytes of ${disk.name} are lost, and become zeros`]),
  ];
}
