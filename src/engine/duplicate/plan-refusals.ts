/** What a clone does not begin with, whatever the target is. */
import type { ArchiveAccess } from '../archive/access.ts';
import { UsageError } from '../errors.ts';
import type { PartKind } from '../layout/contract.ts';
import type { IntervalSet } from '../protect/intervals.ts';
import type { Disk } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import type { CopyRequest } from './request.ts';

/** @throws CloneRefusedError */
export function refuseSource(source: Disk): void {
  const asleep = source.parts.find((part) => part.fs?.state === 'hibernated');
  if (asleep !== undefined) {
    throw new CloneRefusedError(
      'SOURCE_HIBERNATED',
      `the source is hibernated: ${asleep.label} of ${source.name} holds the memory of a system that is not shut down`,
      'Start it, shut it down properly, and clone it then.',
      { source: source.name, part: asleep.label },
    );
  }
  if (source.incomplete !== undefined) {
    throw new CloneRefusedError(
      'SOURCE_INCOMPLETE',
      `the source ${source.name} is the unfinished target of another duplication (run ${source.incomplete})`,
      'Finish that one first: run its command again.',
      { source: source.name, runId: source.incomplete },
    );
  }
  if (source.parts.length === 0) {
    throw new CloneRefusedError(
      'SOURCE_EMPTY',
      `nothing was recognised on the source ${source.name}: neither a partition table nor a file system`,
      'Check that this is the disk you mean.',
      { source: source.name },
    );
  }
}

/** `what` is done with parts. */
export function nothingLeft(what: 'captured' | 'copied', { name, parts }: Pick<Disk, 'name' | 'parts'>): CloneRefusedError {
  return new CloneRefusedError(
    'NOTHING_TO_COPY',
    `no part of ${name} is left to be ${what}`,
    `Change --only and --skip. Its parts: ${parts.map(({ number, kind }) => `${number} (${kind})`).join(', ') || 'none'}.`,
    { source: name },
  );
}

export function needsRoot(): CloneRefusedError {
  return new CloneRefusedError(
    'NEEDS_ROOT',
    'making the target itself means opening its file systems, and that needs root',
    'Run it with sudo, or make a plain copy (--as none).',
  );
}

/** `role` of `one`: "the source" or "the target". */
export function sameStorage(role: string, one: string, target: string): CloneRefusedError {
  return new CloneRefusedError(
    'SAME_STORAGE',
    `${role} ${one} and the target ${target} are the same disk, or one stands on the other`,
    'Name another target.',
    { one, target },
  );
}

/** @throws CloneRefusedError when bytes are to be copied that are known to be lost, and nobody said what shall become of them */
export function refuseLost(
  { readErrors = 'fail', sourceMap }: Pick<CopyRequest, 'readErrors' | 'sourceMap'>,
  source: string,
  lost: IntervalSet,
): void {
  if (lost.count === 0 || readErrors !== 'fail') return;
  throw new CloneRefusedError(
    'SOURCE_DAMAGED',
    `${lost.bytes} bytes in use on ${source} are lost, in ${lost.count} places: the map file ${sourceMap} says that they could not be read`,
    'Let ddrescue try again, or say what shall become of them: --on-read-error zero or skip.',
    { bytes: lost.bytes, first: [...lost][0] },
  );
}

/** `obstacle`: a clause. */
export function sectorsTooLarge(source: Disk, target: Disk, obstacle: string): CloneRefusedError {
  return new CloneRefusedError(
    'SECTOR_SIZE_MISMATCH',
    `${source.name} cannot be used on ${target.name}, which has sectors of ${target.sectorSize} bytes: ${obstacle}`,
    'Use a target with sectors of 512 bytes (or a file), or make a new file system on this one and copy the files.',
    { source: source.sectorSize, target: target.sectorSize, obstacles: [obstacle] },
  );
}

/** @throws UsageError for a disk that would have to be signed: only archives are */
export function refuseUnsigned(disk: string, access: ArchiveAccess | undefined): void {
  if (access?.requireSigned !== true) return;
  throw new UsageError(`--require-signed: ${disk} is no archive, and nothing else is signed`, {
    code: 'NOTHING_SIGNED',
    todo: 'Name the archive, or leave --require-signed away.',
  });
}

/** @throws UsageError when a kind is given to a part that is not there */
export function refuseUnknownParts({ name, parts }: Disk, kinds: ReadonlyMap<number, PartKind>): void {
  const unknown = [...kinds.keys()].find((number) => !parts.some((part) => part.number === number));
  if (unknown === undefined) return;
  throw new UsageError(`--kind ${unknown}=${kinds.get(unknown)}: ${name} has no part ${unknown}`, {
    code: 'NO_SUCH_PART',
    todo: `Its parts are ${parts.map(({ number }) => number).join(', ')}: see doppel inspect ${name}.`,
  });
}
