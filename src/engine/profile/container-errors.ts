/** What can be wrong with a profile region. Offsets and lengths are bytes. */
import { CorruptInputError, IoError, ProfileError, RefusedError } from '../errors.ts';
import type { Region } from '../protect/region.ts';

export type SlotNumber = 0 | 1;
export interface SlotProblem {
  readonly slot: SlotNumber;
  readonly kind: 'no magic' | 'bad CRC' | 'bad header' | 'payload too large' | 'bad hash' | 'other target';
  /** A sentence: "slot 1: the header's CRC is wrong". */
  readonly message: string;
}

const place = (image: string, region: Region) => `the ${region.name} of ${image}`;
const data = (image: string, region: Region) => ({ image, region: region.name, offset: region.offset, length: region.length });
const rewrite = 'Write the profile again with "doppel profile write TARGET FILE --replace-profile".';

/** Neither slot was ever written. */
export class ContainerEmptyError extends ProfileError {
  constructor(image: string, region: Region) {
    super(`${place(image, region)} holds no profile: it was never written`, {
      code: 'PROFILE_EMPTY',
      todo: 'Write one with "doppel profile write TARGET FILE".',
      data: data(image, region),
    });
  }
}

/** There was a profile, but neither slot is usable. */
export class ContainerDamagedError extends CorruptInputError {
  readonly problems: readonly SlotProblem[];

  constructor(image: string, region: Region, problems: readonly SlotProblem[]) {
    super(`${place(image, region)} is damaged in both slots: ${problems.map((p) => p.message).join('; ')}`, {
      code: 'PROFILE_DAMAGED',
      todo: `Keep a copy of the region if it matters. ${rewrite}`,
      data: { ...data(image, region), problems },
    });
    this.problems = problems;
  }
}

/** No newer profile could be told from the one that is there: nobody has written so many, its header was made up. */
export class LastGenerationError extends CorruptInputError {
  constructor(image: string, region: Region, generation: number) {
    super(`${place(image, region)} has generation ${generation}, and no reader takes a higher one`, {
      code: 'PROFILE_LAST_GENERATION',
      todo: 'Keep a copy of the region if it matters, fill it with zeros, and write the profile again.',
      data: { ...data(image, region), generation },
    });
  }
}

/** Both slots are valid, have the same generation, and differ: nobody knows which one is meant. */
export class ContainerConflictError extends CorruptInputError {
  constructor(image: string, region: Region, generation: number) {
    super(`${place(image, region)} holds two different profiles of the same generation ${generation}`, {
      code: 'PROFILE_CONFLICT',
      todo: `Something other than doppel wrote to the region. ${rewrite}`,
      data: { ...data(image, region), generation },
    });
  }
}

/** The profile belongs to another target. */
export class WrongTargetError extends RefusedError {
  constructor(image: string, region: Region, found: string, expected: string) {
    super(`${place(image, region)} belongs to the target ${found}, not to ${expected}`, {
      code: 'PROFILE_WRONG_TARGET',
      todo: 'Check that this is the disk you mean. To give it another identity, use "doppel profile write TARGET FILE --replace-profile".',
      data: { ...data(image, region), found, expected },
    });
  }
}

/** The region is cut off, or too small to hold two slots. */
export class ContainerTruncatedError extends CorruptInputError {
  constructor(image: string, region: Region, reason: string) {
    super(`${place(image, region)} is truncated: ${reason}`, {
      code: 'PROFILE_TRUNCATED',
      todo: 'Check that the image is complete and that its partition table fits its size.',
      data: data(image, region),
    });
  }
}

/** Written by a version that knows more than this one; guessing could take an old profile for the current one. */
export class ContainerNewerError extends ProfileError {
  constructor(image: string, region: Region, what: string) {
    super(`${place(image, region)} was written by a newer version: ${what}`, {
      code: 'PROFILE_NEWER',
      todo: 'Use a newer version of doppel.',
      data: { ...data(image, region), what },
    });
  }
}

/** E024: the payload is larger than a slot takes. */
export class PayloadTooLargeError extends ProfileError {
  constructor(image: string, region: Region, size: number, limit: number) {
    super(`E024: the profile has ${size} bytes; a slot of ${place(image, region)} takes ${limit}`, {
      code: 'PROFILE_TOO_LARGE',
      todo: 'Make write_files and the secrets smaller, or use a larger profile partition.',
      data: { ...data(image, region), diagnostic: 'E024', size, limit },
    });
  }
}

/** The region holds another generation than the one the plan was made for. */
export class ContainerChangedError extends RefusedError {
  constructor(image: string, region: Region, found: number, expected: number) {
    super(`${place(image, region)} has generation ${found}, but ${expected} was expected: somebody wrote it in the meantime`, {
      code: 'PROFILE_CHANGED',
      todo: 'Look at it with "doppel profile show TARGET", then run the command again.',
      data: { ...data(image, region), found, expected },
    });
  }
}

/** What was written reads back differently. The profile that was there before is still in the other slot. */
export class ContainerNotWrittenError extends IoError {
  constructor(image: string, region: Region, slot: SlotNumber, offset: number) {
    super(`slot ${slot} of ${place(image, region)} reads back differently at byte ${offset}`, {
      code: 'PROFILE_NOT_WRITTEN',
      todo: 'The medium may be failing: look at the kernel log (dmesg). The previous profile is still in the other slot.',
      data: { ...data(image, region), slot, byte: offset },
    });
  }
}
