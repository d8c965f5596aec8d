/** An archive as the source of a clone: what has to be known of it stands in its layout. */
import type { OpenArchive } from '../archive/archive.ts';
import { ArchivedDisk } from '../archive/archived-disk.ts';
import { ArchiveCorruptError } from '../archive/errors.ts';
import { openArchiveOrPart } from '../archive/open.ts';
import type { RunOptions } from '../events.ts';
import type { ByteRange } from '../image/contract.ts';
import { BundleCorruptError } from '../profile/bundle-errors.ts';
import type { Bundle } from '../profile/model.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { partAsDisk } from './archived-part.ts';
import type { Contents } from './contents.ts';
import { type ArchivedMachine, decodeMachine, MachineError } from './machine.ts';
import { refuseUnknownParts } from './plan-refusals.ts';
import type { Source, SourceRequest } from './source.ts';

/** @throws ArchiveCorruptError */
export function archivedMachine({ name, layout }: OpenArchive): ArchivedMachine {
  try {
    return decodeMachine(layout.machine, layout.images, name);
  } catch (error) {
    if (error instanceof MachineError) throw new ArchiveCorruptError(name, 'its layout', error.message, error);
    throw error;
  }
}

/** What is meant of an archive, all of it or a part. @throws ArchiveCorruptError, NoSuchPartError */
export function archivedImage(archive: OpenArchive): { readonly image: ArchivedDisk; readonly machine: ArchivedMachine } {
  const machine = archivedMachine(archive);
  if (archive.part === undefined) return { machine, image: new ArchivedDisk(archive, machine.image) };
  const { place, asDisk } = partAsDisk(machine, archive.part);
  return { machine: asDisk, image: new ArchivedDisk(archive, machine.image, place) };
}

/** @throws the errors of openArchive */
export async function withArchivedSource<T>(
  request: SourceRequest,
  action: (source: Source) => Promise<T>,
  run: RunOptions,
): Promise<T> {
  if (request.archive !== undefined) return action(archivedSource(request, request.archive));
  const archive = await openArchiveOrPart(request.source, request.access, run);
  try {
    return await action(archivedSource(request, archive));
  } finally {
    await archive.close();
  }
}

function archivedSource(request: SourceRequest, archive: OpenArchive): Source {
  const { image: source, machine } = archivedImage(archive);
  const { image, disk: captured, contents, loaders, kinds } = machine;
  refuseUnknownParts(captured, request.kindOverrides);
  const parts = captured.parts.map((part) => ({ ...part, kind: request.kindOverrides.get(part.number) ?? part.kind }));
  const all = IntervalSet.of({ offset: 0, length: image.size });
  const { digest } = archive;
  const identity = { path: source.name, kind: 'archive', size: image.size, sectorSize: captured.sectorSize } as const;
  return {
    seekable: source.seekable,
    identity,
    image: source,
    disk: { ...captured, parts },
    writers: [],
    allocation: { data: image.data, zero: all.subtract(image.data) },
    loaders,
    knownBad: IntervalSet.empty,
    lost: source.unreadable,
    sighting: async () => ({ identity, places: [], ...(digest === undefined ? {} : { stamp: digest }) }),
    past: {},
    kinds,
    // The target may have no room for the end of a part.
    contentsOf: async ({ range }) => cut(contents.get(numberAt(captured.parts, range)), range),
    carriesProfile: archive.hasBundle === true,
    profile: () => archivedProfile(archive),
  };
}

/** @throws ArchiveEncryptedError, WrongIdentityError, ArchiveCorruptError, ArchiveIoError */
async function archivedProfile(archive: OpenArchive): Promise<Bundle | undefined> {
  const bytes = await archive.bundle();
  if (bytes === undefined) return undefined;
  const { decodeBundle } = await import('../profile/bundle.ts');
  try {
    return decodeBundle(bytes);
  } catch (error) {
    if (error instanceof BundleCorruptError)
      throw new ArchiveCorruptError(archive.name, 'the profile in it', `cannot be understood: ${error.data.reason}`, error);
    throw error;
  }
}

function numberAt(parts: Source['disk']['parts'], { offset }: ByteRange): number {
  const part = parts.find((each) => each.range.offset === offset);
  if (part === undefined) throw new RangeError(`no part was captured at ${offset}`);
  return part.number;
}

function cut(contents: Contents | undefined, range: ByteRange): Contents {
  if (contents === undefined) throw new RangeError(`nothing was captured at ${range.offset}`);
  const place = IntervalSet.of(range);
  const { data, zero, unused, ...how } = contents;
  return { ...how, data: data.intersect(place), zero: zero.intersect(place), unused: unused.intersect(place) };
}
