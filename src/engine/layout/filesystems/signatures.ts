/**
 * Recognising what doppel cannot map: file systems without a reader, and containers that hold something else.
 * Offsets and meanings are those of each format's own headers; the names are blkid's.
 */
import type { ImageSource } from '../../image/contract.ts';
import type { FileSystemInfo } from '../contract.ts';
import { probeBcache, probeDrbd, probeIntelRaid, probeLinuxRaid, probeLuks, probeZfs } from './signatures/containers.ts';
import { probeErofs, probeIso9660, probeSquashfs } from './signatures/linux.ts';
import { probeBitLocker } from './signatures/windows.ts';

/** Tells one format. Undefined when the part is something else; never throws for damaged input. */
export type Probe = (part: ImageSource) => Promise<FileSystemInfo | undefined>;

/** Formats that hold other volumes: where one of them claims a part, what is found inside is not the part's own. */
export const containers: readonly Probe[] = [
  probeLinuxRaid,
  probeIntelRaid,
  probeLuks,
  probeBitLocker,
  probeZfs,
  probeBcache,
  probeDrbd,
];

export const unmapped: readonly Probe[] = [probeErofs, probeSquashfs, probeIso9660];
