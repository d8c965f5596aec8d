/** Makes the plans of a clone: looks at the disks, decides, and refuses whatever could lose something. Writes nothing. */
import { randomUUID } from 'node:crypto';
import { ArchivedDisk } from '../archive/archived-disk.ts';
import { ArchiveArrivingError } from '../archive/errors.ts';
import { PipedArchive } from '../archive/piped.ts';
import { ignoreEvents, type RunOptions } from '../events.ts';
import { type ByteRange, end } from '../image/contract.ts';
import { ImageExistsError } from '../image/errors.ts';
import { imageIdentity } from '../image/identity.ts';
import type { OpenImage } from '../image/open-image.ts';
import { withReadCache } from '../image/read-cache.ts';
import { sharesStorage } from '../image/users.ts';
import { openTarget } from '../layout/part-of-disk.ts';
import type { Bundle } from '../profile/model.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { sectorSizeAfter } from './adapt-source.ts';
import type { Contents } from './contents.ts';
import { type Disk, surveyDisk } from './disk.ts';
import { checkExpectations } from './expect.ts';
import { refuseMissingGrowTools } from './grow.ts';
import { type ChosenIdentity, chooseIdentity } from './identity.ts';
import { keptIdentity } from './kept.ts';
import { partFacts } from './part-facts.ts';
import type { ClonePlan } from './plan.ts';
import { type Layout, layOut } from './plan-layout.ts';
import type { SeenPersona } from './plan-persona.ts';
import { needsRoot, refuseLost, sameStorage } from './plan-refusals.ts';
import { remarksOf } from './plan-remarks.ts';
import { fenceFor, type KindChoice } from './plan-table.ts';
import { workOf } from './plan-work.ts';
import { plannedParts } from './planned-parts.ts';
import { sighting } from './preconditions.ts';
import { isUnclean } from './replay.ts';
import type { CloneRequest, CopyRequest, TargetRequest } from './request.ts';
import { checkMapPlace } from './rescue-map.ts';
import { findResumable, type JournalSubject } from './resume.ts';
import { previewRewrite, type RewritePreview } from './rewrite-ids.ts';
import { sampleRate } from './sample-rate.ts';
import { type Source, withSource } from './source.ts';
import { readReplaceableProfile, type StoredProfile } from './stored-profile.ts';
import { readOnlyWindows, systemParts } from './system.ts';
import { tableLossOf, withBootCode } from './table-loss.ts';
import { isUnfinished } from './unfinished.ts';

/** The plan for one target. @throws as `planClones` */
export async function planClone(request: CloneRequest, options: RunOptions = {}): Promise<ClonePlan> {
  const [plan] = await planClones(request, [request], options);
  return plan as ClonePlan;
}

/**
 * One plan for each target, in their order; the source is looked at once.
 * @throws CloneRefusedError and the errors of everything that is looked at; nothing has been written then
 */
export async function planClones(
  request: CopyRequest,
  targets: readonly TargetRequest[],
  { onEvent = ignoreEvents, signal }: RunOptions = {},
): Promise<readonly ClonePlan[]> {
  if (targets.some(({ identity }) => identity.choice !== 'none') && process.getuid?.() !== 0) throw needsRoot();
  if (request.mapFile !== undefined) await checkMapPlace(request.mapFile, request.sourceMap);
  onEvent({ type: 'phase', phase: 'plan', title: 'Looking at the disks' });
  await refuseSharedStorage(request, targets);
  // While the source is looked at, which is mostly waiting. What goes wrong is told when it is their turn.
  const surveys = targets.map((target) => surveyTarget(request, target));
  const ended = Promise.allSettled(surveys);
  try {
    return await withSource(request, async (source) => {
      const plans: ClonePlan[] = [];
      for (const [index, target] of targets.entries()) {
        signal?.throwIfAborted();
        try {
          const { create, ...seen } = (await surveys[index]) as SeenTarget;
          const found = await look(request, target, source, seen);
          plans.push({ ...(await assemble(request, target, found)), ...(create === undefined ? {} : { create }) });
        } catch (error) {
          // Many refusals just say "the target".
          if (targets.length > 1) onEvent({ type: 'warning', message: `no target is touched, because of ${target.target}` });
          throw error;
        }
      }
      return plans;
    });
  } finally {
    for (const survey of await ended) if (survey.status === 'fulfilled') await survey.value.target.close();
  }
}

interface SeenTarget {
  readonly target: OpenImage;
  readonly targetDisk: Disk;
  /** Of a file that is to be made: bytes. */
  readonly create?: { readonly size: number };
}

async function surveyTarget(request: CopyRequest, wanted: TargetRequest): Promise<SeenTarget> {
  const { image, create } = await openPlanned(request, wanted);
  try {
    const windows = process.getuid?.() === 0 ? { openWindow: readOnlyWindows(image) } : {};
    const targetDisk = await surveyDisk(withReadCache(image), windows);
    return { target: image, targetDisk, ...(create === undefined ? {} : { create }) };
  } catch (error) {
    await image.close();
    throw error;
  }
}

/** @throws CloneRefusedError when two of the disks are one */
async function refuseSharedStorage({ source, archive }: CopyRequest, targets: readonly TargetRequest[]): Promise<void> {
  for (const [index, { target }] of targets.entries()) {
    // What arrives has no place here.
    if (!(archive instanceof PipedArchive) && (await sharesStorage(source, target)))
      throw sameStorage('the source', source, target);
    for (const other of targets.slice(0, index)) {
      if (await sharesStorage(other.target, target)) throw sameStorage('the target', other.target, target);
    }
  }
}

/** A file that is to be made may stand there already, when a run was killed that made it. */
async function openPlanned(
  { stateDir }: CopyRequest,
  { target, create }: TargetRequest,
): Promise<{
  readonly image: OpenImage;
  readonly create?: { readonly size: number };
}> {
  if (create === undefined) return { image: await openTarget(target) };
  try {
    return { image: await openTarget(target, { create }), create };
  } catch (error) {
    if (!(error instanceof ImageExistsError)) throw error;
    const image = await openTarget(target);
    if (image.size === create.size && (await isUnfinished(image, target, stateDir?.path))) return { image };
    await image.close();
    throw error;
  }
}

/** All that the plan is made of. */
interface Found extends Omit<SeenTarget, 'create'> {
  readonly source: Source;
  readonly stored: StoredProfile | undefined;
  /** Why the target's profile, which is replaced, cannot be read. */
  readonly damage: string | undefined;
  readonly identity: ChosenIdentity;
  readonly layout: Layout;
  /** By part number of the source. */
  readonly contents: ReadonlyMap<number, Contents>;
  readonly persona: SeenPersona | undefined;
  readonly rewrite: RewritePreview;
}

async function look(
  request: CopyRequest,
  wanted: TargetRequest,
  source: Source,
  { target, targetDisk }: Omit<SeenTarget, 'create'>,
): Promise<Found> {
  const { identity: choice } = wanted;
  checkExpectations(
    wanted.expect,
    await imageIdentity(wanted.target, target.size, target.sectorSize),
    targetDisk.system?.hostname,
  );
  const { stored, damage } =
    choice.choice === 'none'
      ? { stored: undefined }
      : await readReplaceableProfile(target, targetDisk.regions, choice.replaceProfile && choice.choice !== 'target');
  const identity = await chooseIdentity(choice, {
    source: source.disk,
    target: targetDisk,
    sourceProfile: () => source.profile(),
    targetProfile: stored,
    targetKept: () => keptIdentity(systemParts(targetDisk.parts, readOnlyWindows(target))),
  });
  const layout = layOut({
    source: source.disk,
    target: targetDisk,
    kinds: kindsOf(request, source),
    identity,
    stored,
    sectorSizeKnown: !target.sectorSizeAssumed,
    loaders: source.loaders,
    grow: request.grow ?? [],
    newGuids: request.newGuids === true,
    facts: await partFacts(source.image, source.disk, source.allocation, {
      size: target.size,
      sectorSize: sectorSizeAfter(source.disk, targetDisk, !target.sectorSizeAssumed),
    }),
  });
  await refuseMissingGrowTools(layout.grow);
  const copied = systemParts(layout.copied, readOnlyWindows(source.image));
  // Whether all files that name the old ids can be rewritten has to be known before.
  if (!source.seekable && layout.renames.length > 0) throw new ArchiveArrivingError(source.image.name);
  const rewrite = await previewRewrite(copied, layout.renames);
  const contents = new Map<number, Contents>();
  for (const part of layout.copied) contents.set(part.number, await source.contentsOf(part));
  const persona = identity.bundle && (await seenPersona(identity.bundle));
  return { source, target, targetDisk, stored, damage, identity, layout, contents, persona, rewrite };

  async function seenPersona(bundle: Bundle): Promise<SeenPersona> {
    const { previewPersona, unseenPersona } = await import('./plan-persona.ts');
    if (!source.seekable) return unseenPersona([...layout.copied, ...layout.kept], bundle);
    const machineId = choice.choice === 'source' ? undefined : source.disk.system?.machineId;
    return previewPersona([...copied, ...systemParts(layout.kept, readOnlyWindows(target))], bundle, machineId);
  }
}

async function assemble(request: CopyRequest, wanted: TargetRequest, found: Found): Promise<ClonePlan> {
  const { source, target, targetDisk, stored, identity, layout, contents, persona } = found;
  const { readErrors = 'fail' } = request;
  const work = workOf(request, {
    source: source.disk,
    targetSize: target.size,
    layout,
    allocation: source.allocation,
    contents: contents.values(),
  });
  const lost = source.knownBad.intersect(work.copy);
  refuseLost(request, source.disk.name, lost);
  // What an archive is asked for is fetched and decompressed: not for a guess.
  const rate =
    source.image instanceof ArchivedDisk ? undefined : await sampleRate(source.image, work.copy.subtract(source.knownBad));
  const targetIdentity = await imageIdentity(wanted.target, targetDisk.size, targetDisk.sectorSize);
  const preconditions = {
    source: await source.sighting(),
    target: await sighting(target, targetDisk.table, targetDisk.regions),
  };
  // What comes but once cannot be told from another one before its end.
  const stateDir = source.seekable ? request.stateDir : undefined;
  const { runId, durable, journal } = await resumption(
    { ...request, stateDir },
    preconditions.source,
    targetIdentity,
    targetDisk,
    layout,
  );
  return {
    runId,
    source: source.identity,
    ...(request.archive === undefined ? {} : { archive: request.archive }),
    ...(request.access === undefined ? {} : { access: request.access }),
    target: targetIdentity,
    ...(source.disk.system === undefined ? {} : { sourceSystem: source.disk.system }),
    ...(targetDisk.system === undefined ? {} : { targetSystem: targetDisk.system }),
    ...(layout.table === undefined
      ? {}
      : {
          table: withBootCode(layout.table, source.disk, targetDisk, readErrors),
          fence: fenceFor({ table: layout.table, staying: layout.staying }, targetDisk, {
            runId,
            overwritten: hull(work.copy.union(work.zero).union(work.discard)),
            written: work.copy.union(work.zero).union(work.discard),
            regions: layout.regions.filter(({ carrier }) => carrier === 'raw'),
          }),
        }),
    ...(targetDisk.table === undefined ? {} : { before: targetDisk.table }),
    parts: plannedParts(layout, contents, targetDisk),
    regions: layout.regions,
    identity: {
      choice: wanted.identity.choice,
      ...(identity.bundle === undefined ? {} : { bundle: identity.bundle }),
      ...(identity.writeReason === undefined || layout.newRegion === undefined
        ? {}
        : { write: { region: layout.newRegion, reason: identity.writeReason } }),
      ...(stored === undefined ? {} : { generation: stored.generation }),
    },
    ...(persona?.plan === undefined ? {} : { persona: persona.plan }),
    personaParts: persona?.parts ?? new Set(),
    replay: new Set(layout.copied.filter(isUnclean).map(({ number }) => number)),
    ...work,
    withheld: layout.withheld,
    grow: layout.grow,
    renames: layout.renames,
    kept: IntervalSet.of(...layout.kept.map(({ range }) => range)),
    inconsistent: request.allowInconsistent,
    verify: request.verify,
    delta: request.delta === true,
    readErrors,
    knownBad: source.knownBad,
    tableLoss: tableLossOf(source.disk, layout),
    ...(request.mapFile === undefined ? {} : { mapFile: request.mapFile }),
    ...(journal === undefined ? {} : { journal }),
    durable,
    ...(rate === undefined ? {} : { expectedSeconds: (work.copy.bytes / rate) * (request.verify ? 2 : 1) }),
    ...remarksOf({
      ...found,
      writers: source.writers,
      sourceDisk: source.disk,
      imageNotes: { source: source.image.notes, target: target.notes },
      durable,
      lost: lost.bytes,
      lostBefore: source.lost.intersect(work.copy).bytes,
      readErrors,
    }),
    preconditions,
  };
}

/** An archive that holds some kinds of parts says nothing about the others. */
function kindsOf({ kinds }: CopyRequest, source: Source): KindChoice {
  const only = kinds.only ?? source.kinds?.only;
  const skip = [...(kinds.skip ?? []), ...(source.kinds?.skip ?? [])];
  return { ...(only === undefined ? {} : { only }), ...(skip.length === 0 ? {} : { skip }) };
}

/** A run that was killed keeps its id, so that the fence that stands and the journal go on to belong together. */
async function resumption(
  {
    stateDir,
    allowInconsistent,
  }: Pick<CopyRequest, 'allowInconsistent'> & { readonly stateDir: CopyRequest['stateDir'] | undefined },
  source: JournalSubject['source'],
  target: JournalSubject['target'],
  targetDisk: Disk,
  layout: Layout,
): Promise<Pick<ClonePlan, 'runId' | 'durable' | 'journal'>> {
  if (stateDir === undefined) return { runId: randomUUID().toUpperCase(), durable: 0 };
  const journal = {
    stateDir: stateDir.path,
    required: stateDir.required,
    source,
    target,
    inconsistent: allowInconsistent,
    fenced: layout.table !== undefined,
  };
  const found = await findResumable(journal, targetDisk.incomplete);
  return { runId: found?.facts.runId ?? randomUUID().toUpperCase(), durable: found?.durable.bytes ?? 0, journal };
}

function hull(set: IntervalSet): ByteRange {
  const ranges = [...set];
  const [first, last] = [ranges[0], ranges.at(-1)];
  if (first === undefined || last === undefined) return { offset: 0, length: 0 };
  return { offset: first.offset, length: end(last) - first.offset };
}
