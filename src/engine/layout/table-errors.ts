/** What can be wrong with a partition table, or with putting two of them together. Sectors unless the name says bytes. */
import { CorruptInputError, RefusedError } from '../errors.ts';
import type { TableEntry } from './contract.ts';
import { entryLabel, sectorRange } from './table-text.ts';

/** The table is damaged beyond what its backup can repair, or contradicts itself. */
export class TableCorruptError extends CorruptInputError {
  readonly problems: readonly string[];

  constructor(image: string, problems: readonly string[], kind: 'gpt' | 'mbr') {
    super(`the ${kind === 'gpt' ? 'GPT' : 'MBR partition table'} of ${image} cannot be used: ${problems.join('; ')}`, {
      code: 'TABLE_CORRUPT',
      todo: 'Repair it with "gdisk" or "sfdisk", or, on a target whose content may be lost, remove it with "wipefs --all".',
      data: { image, problems },
    });
    this.problems = problems;
  }
}

/** The table describes a larger disk than this one: the image was cut off. */
export class TableTruncatedError extends CorruptInputError {
  constructor(image: string, size: number, neededBytes: number) {
    super(`${image} has ${size} bytes, but its GPT describes a disk of at least ${neededBytes} bytes: it is truncated`, {
      code: 'TABLE_TRUNCATED',
      todo: 'Take the image again, or repair the table with "gdisk" if the missing end is known to be empty.',
      data: { image, size, neededBytes },
    });
  }
}

/** There is a GPT, but made for another logical sector size than the disk has. */
export class SectorSizeConflictError extends RefusedError {
  constructor(image: string, diskSectorSize: number, tableSectorSize: number) {
    super(`${image} has sectors of ${diskSectorSize} bytes, but its GPT was written for sectors of ${tableSectorSize} bytes`, {
      code: 'SECTOR_SIZE_CONFLICT',
      todo: `Attach it with ${tableSectorSize}-byte sectors ("losetup --sector-size ${tableSectorSize}"), or remove the table.`,
      data: { image, diskSectorSize, tableSectorSize },
    });
  }
}

/** Two tables or a table and something else claim the disk, and which one holds cannot be known. */
export class AmbiguousTableError extends RefusedError {
  constructor(image: string, what: string) {
    super(`${image}: ${what}`, {
      code: 'TABLE_AMBIGUOUS',
      todo: 'Look at it with "wipefs" and remove the signature that is out of date ("wipefs --offset"), or write the missing protective MBR with "gdisk".',
      data: { image },
    });
  }
}

/** There is no free sector for the boot record that a logical partition needs before it. */
export class LogicalRecordError extends RefusedError {
  constructor(what: string, sector: number) {
    super(`there is no free sector before sector ${sector} for the boot record of ${what}`, {
      code: 'LOGICAL_NO_ROOM',
      todo: 'Do not keep the logical partition (--only, --skip), or leave a free sector before it on its disk.',
      data: { what, sector },
    });
  }
}

/** An entry cannot stand in a table: backwards, out of bounds, a number that does not exist, a damaged GUID. */
export class InvalidEntryError extends RefusedError {
  constructor(entry: TableEntry, problem: string) {
    super(`${entryLabel(entry)} cannot stand in the table: ${problem}`, {
      code: 'ENTRY_INVALID',
      todo: 'Choose another place, number or name for the partition.',
      data: { partition: entry.number, name: entry.name, firstSector: entry.firstSector, lastSector: entry.lastSector },
    });
  }
}

/** The disk is too small for the table itself, or the entry array would lie on a partition. */
export class TableDoesNotFitError extends RefusedError {
  constructor(message: string, data: Readonly<Record<string, unknown>>) {
    super(message, {
      code: 'TABLE_DOES_NOT_FIT',
      todo: 'Use a larger disk, or move or remove the partition that is in the way.',
      data,
    });
  }
}

/** One side of a collision: `what` names it, sectors are inclusive. */
export interface Claim {
  readonly what: string;
  readonly firstSector: number;
  readonly lastSector: number;
}

/** Two things claim the same sectors of the target. */
export class PartsCollideError extends RefusedError {
  readonly claims: readonly [Claim, Claim];

  constructor(a: Claim, b: Claim) {
    super(`${a.what}, ${sectorRange(a)}, collides with ${b.what}, ${sectorRange(b)}`, {
      code: 'PARTS_COLLIDE',
      todo: 'Leave one of them out (--skip, --only), or move it on its disk first.',
      data: { claims: [a, b] },
    });
    this.claims = [a, b];
  }
}

/** Parts of the source end behind the end of the target. */
export class TargetTooSmallError extends RefusedError {
  readonly neededBytes: number;

  /** `parts`: names, and by how many bytes each is too far; `neededBytes`: size of a disk that would do. */
  constructor(parts: readonly { readonly part: string; readonly missing: number }[], neededBytes: number, diskSize: number) {
    const names = parts.map(({ part, missing }) => `${part} of the source (${missing} bytes too far)`).join(' and ');
    super(
      `the target has ${diskSize} bytes and is ${neededBytes - diskSize} bytes too small: ${names} needs a disk of at least ${neededBytes} bytes`,
      {
        code: 'TARGET_TOO_SMALL',
        todo: 'Use a larger target, leave the part out, or shrink it and its file system on the source.',
        data: { parts, neededBytes, missing: neededBytes - diskSize, diskSize },
      },
    );
    this.neededBytes = neededBytes;
  }
}

/** Source and target count sectors differently, and not everything that is copied would survive the move. */
export class SectorSizeMismatchError extends RefusedError {
  /** `obstacles`: what forbids a translation, each a clause. */
  constructor(source: number, target: number, obstacles: readonly string[] = []) {
    const why = obstacles.length === 0 ? '' : `, and it cannot be translated: ${obstacles.join('; ')}`;
    super(`the source's table counts sectors of ${source} bytes, the target has sectors of ${target} bytes${why}`, {
      code: 'SECTOR_SIZE_MISMATCH',
      todo:
        obstacles.length > 1
          ? 'Use a target with the sector size of the source, or leave these parts out (--only, --skip).'
          : 'Use a target with the sector size of the source.',
      data: { source, target, obstacles },
    });
  }
}

/** What must stay on the target stands in a table of the other kind. */
export class TableKindMismatchError extends RefusedError {
  constructor(source: 'gpt' | 'mbr', target: 'gpt' | 'mbr', stays: readonly string[]) {
    const text = { gpt: 'a GPT', mbr: 'an MBR table' };
    super(`the source has ${text[source]}, but ${stays.join(' and ')} must stay in ${text[target]} of the target`, {
      code: 'TABLE_KIND_MISMATCH',
      todo: 'Use a target with the same kind of table, or another carrier for the profile, or keep no parts.',
      data: { source, target, stays },
    });
  }
}

/** No free number is left for an entry that must stay. */
export class TableFullError extends RefusedError {
  constructor(entry: TableEntry, slots: number) {
    super(`${entryLabel(entry)} must stay on the target, but all ${slots} places of the partition table are taken`, {
      code: 'TABLE_FULL',
      todo: 'Leave a part of the source out (--skip, --only).',
      data: { partition: entry.number, slots },
    });
  }
}

/** Two entries of one table would have the same unique GUID. */
export class DuplicateGuidError extends RefusedError {
  constructor(a: string, b: string, guid: string) {
    super(`${a} and ${b} have the same unique GUID ${guid}; in one table the system could not tell them apart`, {
      code: 'DUPLICATE_GUID',
      todo: 'Give one of them a new GUID ("sgdisk --partition-guid=N:R"), or leave it out.',
      data: { guid },
    });
  }
}
