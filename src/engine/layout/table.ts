/** Reads the partition table of a disk: GPT with both its copies, else MBR, else none. */
import type { ImageSource } from '../image/contract.ts';
import type { PartitionTable } from './contract.ts';
import { findIncomplete } from './fence-table.ts';
import { findGpt, type GptFindings, gptProblems, gptTable } from './gpt-read.ts';
import { type BootSector, extendedTypes, mbrTable, protectiveType, readBootSector } from './mbr.ts';
import { readLogicalPartitions } from './mbr-extended.ts';
import { withSectorsOfMbr } from './mbr-sectors.ts';
import { AmbiguousTableError, SectorSizeConflictError, TableCorruptError, TableTruncatedError } from './table-errors.ts';
import { entryLabel } from './table-text.ts';
import { profilePartitionType } from './types.ts';

export interface ReadTableOptions {
  /**
   * Whether a table may have been written for another sector size than `image.sectorSize` (512 and 4096 are tried): right for
   * regular files, never for block devices. Default: `image.sectorSizeAssumed`.
   */
  readonly probeSectorSizes?: boolean;
}

const probedSizes = [512, 4096];
/** Every file system that leaves sector 0 blank has its own signature within so many bytes of the start (btrfs: 64 KiB). */
const signatureArea = 128 * 1024;

/**
 * The partition table of the whole disk `image`, or undefined when there is none: a blank disk, or a file system that takes the
 * whole disk. A damaged copy of a GPT, a missing protective MBR, a backup that is not at the end are survived and told in `repairs`.
 *
 * @throws TableCorruptError both copies of a GPT are bad, or MBR entries contradict each other.
 * @throws TableTruncatedError the GPT describes a larger disk.
 * @throws SectorSizeConflictError the GPT was written for another sector size than the device has.
 * @throws AmbiguousTableError what sector 0 says and what stands in the GPT cannot both be true.
 * @throws ImageIoError the image cannot be read.
 */
export async function readTable(image: ImageSource, options: ReadTableOptions = {}): Promise<PartitionTable | undefined> {
  const probe = options.probeSectorSizes ?? image.sectorSizeAssumed ?? false;
  const own = image.sectorSize;
  if (image.size < Math.max(512, own)) return undefined;

  const found: GptFindings[] = [];
  for (const size of new Set([own, ...probedSizes])) {
    const findings = await findGpt(image, size);
    if (findings) found.push(findings);
  }
  const candidates = found.filter((findings) => probe || findings.sectorSize === own);
  const chosen = candidates.find((findings) => findings.primary.copy) ?? candidates.find((findings) => findings.backup.copy);
  const sectorSize = chosen?.sectorSize ?? own;
  const sector = new Uint8Array(sectorSize);
  await image.read(sector, 0);
  const boot = readBootSector(sector, Math.floor(image.size / sectorSize));

  if (chosen) return withGpt(image, chosen, boot, sector, probe);
  const foreign = found.find((findings) => findings.primary.copy ?? findings.backup.copy);
  const remains = found.some(({ primary, backup }) => primary.parsed.present || backup.parsed.present);
  const otherTable = boot.verdict === 'bad' || (boot.verdict === 'table' && boot.entries.length > 0);
  if (boot.protective || (remains && !otherTable)) {
    if (foreign) throw new SectorSizeConflictError(image.name, own, foreign.sectorSize);
    throw damaged(image, found);
  }
  return withoutGpt(image, [], probe);
}

/** One copy at least is good; whether it counts depends on sector 0. */
async function withGpt(
  image: ImageSource,
  found: GptFindings,
  boot: BootSector,
  sector: Uint8Array,
  probe: boolean,
): Promise<PartitionTable | undefined> {
  if (boot.protective) {
    const hybrid = boot.entries.map((entry) => `${entry.number} (type ${entry.type})`);
    if (hybrid.length === 0) return gptTable(found, sector, []);
    const note = `hybrid MBR: beside the protective entry it lists ${hybrid.join(', ')}; only the GPT counts`;
    return { ...gptTable(found, sector, [note]), hybrid: boot.hybrid };
  }
  const table = gptTable(found, sector, ['the protective MBR is missing']);
  const ours = table.entries.some((entry) => entry.type === profilePartitionType);
  if (findIncomplete(table)) return table;
  if (boot.verdict === 'table' && boot.entries.length > 0) {
    if (!ours)
      return withoutGpt(image, ['a GPT without protective MBR was ignored: sector 0 holds an MBR partition table'], probe);
    throw new AmbiguousTableError(
      image.name,
      'sector 0 holds an MBR partition table, but there is also a GPT that holds a profile',
    );
  }
  if (ours) return table;
  if (boot.blank && (found.primary.copy || (await isZero(image, signatureArea)))) return table;
  throw new AmbiguousTableError(
    image.name,
    `there is a GPT (${found.primary.copy ? 'at both ends or at the start' : 'at the end only'}), but sector 0 has no protective entry for it: ` +
      'either its start was overwritten, or the GPT is a leftover and something else takes the whole disk',
  );
}

async function withoutGpt(found: ImageSource, notes: readonly string[], probe: boolean): Promise<PartitionTable | undefined> {
  const { sector: first, boot: seen } = await bootSectorOf(found);
  if (seen.verdict === 'bad') throw new TableCorruptError(found.name, seen.problems, 'mbr');
  if (seen.verdict !== 'table') return undefined;
  const image = probe ? await withSectorsOfMbr(found, seen.entries) : found;
  const { sector, boot } = image === found ? { sector: first, boot: seen } : await bootSectorOf(image);
  const [container, second] = boot.entries.filter(({ type }) => extendedTypes.has(type));
  if (container === undefined) return mbrTable(boot, sector, image.size, image.sectorSize, notes);
  const both = second && [`${entryLabel(container)} and ${entryLabel(second)} are both extended`];
  const logical = await readLogicalPartitions(image, container, boot.diskId);
  const problems = [...(both ?? []), ...logical.problems];
  if (problems.length > 0) throw new TableCorruptError(image.name, problems, 'mbr');
  return mbrTable(boot, sector, image.size, image.sectorSize, notes, logical);
}

async function bootSectorOf(image: ImageSource): Promise<{ readonly sector: Uint8Array; readonly boot: BootSector }> {
  const sector = new Uint8Array(Math.max(512, image.sectorSize));
  await image.read(sector, 0);
  return { sector, boot: readBootSector(sector, Math.floor(image.size / image.sectorSize)) };
}

function damaged(image: ImageSource, found: readonly GptFindings[]): Error {
  for (const { primary, backup, sectorSize } of found) {
    const needed = primary.parsed.sectorsNeeded ?? backup.parsed.sectorsNeeded;
    if (needed !== undefined) return new TableTruncatedError(image.name, image.size, needed * sectorSize);
  }
  const present = found.find((findings) => findings.primary.parsed.present || findings.backup.parsed.present);
  const problems = present
    ? gptProblems(present)
    : [`sector 0 has a protective entry (type ${protectiveType}), but neither end of the disk has a GPT header`];
  return new TableCorruptError(image.name, problems, 'gpt');
}

async function isZero(image: ImageSource, length: number): Promise<boolean> {
  const bytes = new Uint8Array(Math.min(length, image.size));
  await image.read(bytes, 0);
  return bytes.every((byte) => byte === 0);
}
