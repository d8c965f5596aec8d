/** What the layout readers tell about a disk: its table, its parts, and which bytes a file system uses. Offsets are bytes. */
import type { ByteRange, ImageSource } from '../image/contract.ts';
import type { IntervalSet } from '../protect/intervals.ts';

export const partKinds = ['boot', 'os', 'driver', 'application', 'swap', 'profile'] as const;
export type PartKind = (typeof partKinds)[number];

/** Sectors count in the disk's logical sector size. Bounds are inclusive, as on disk. */
export interface TableEntry {
  /** 1-based: the number in /dev/sda1. */
  readonly number: number;
  readonly firstSector: number;
  readonly lastSector: number;
  /** GPT: upper-case GUID text. MBR: two hex digits, as `83`. */
  readonly type: string;
  /** GPT: unique GUID, upper case. MBR: `SERIAL-NN` as the kernel names it. */
  readonly guid: string;
  /** GPT partition name; empty for MBR. */
  readonly name: string;
  /** GPT: the 64 attribute bits. MBR: 0x80 active flag. */
  readonly attributes: bigint;
  /** MBR, logical partitions only (numbers from 5 on): the sector of the extended boot record that describes it. */
  readonly recordSector?: number;
}

/** The partition of an MBR table that holds the logical ones. It is no entry of its own: everything in it belongs to them, or is free. */
export interface ExtendedPartition {
  /** 1 to 4. */
  readonly number: number;
  readonly firstSector: number;
  readonly lastSector: number;
  /** 05, 0F or 85. */
  readonly type: string;
  readonly attributes: bigint;
  /** The first bytes of its first boot record, where a loader may stand; absent when they are zero. */
  readonly bootCode?: Uint8Array;
}

/** One of the four entries of the MBR on a GPT disk. */
export interface HybridEntry {
  /** 1 to 4. */
  readonly slot: number;
  /** Two hex digits; `EE` covers what no other entry of the MBR shows. */
  readonly type: string;
  readonly active: boolean;
  readonly firstSector: number;
  readonly lastSector: number;
}

export interface PartitionTable {
  readonly kind: 'gpt' | 'mbr';
  readonly sectorSize: number;
  /** GPT: disk GUID, upper case. MBR: 8 hex digits. */
  readonly diskId: string;
  /** First and last sector that a partition may take, inclusive. */
  readonly firstUsable: number;
  readonly lastUsable: number;
  readonly entries: readonly TableEntry[];
  /** What was found wrong and survived, each a sentence: "primary header: bad CRC; the backup was used". */
  readonly repairs: readonly string[];
  /** Where the table itself stands on this disk (headers, entry arrays, MBR), derived from the headers. */
  readonly ownRanges: readonly ByteRange[];
  /** Sector 0 as found; the boot code is its first 440 bytes. */
  readonly mbr: Uint8Array;
  /** GPT: number of slots in the entry array and bytes a slot; absent means 128 of 128 bytes. */
  readonly array?: { readonly count: number; readonly size: number };
  /** MBR: where the logical partitions are. */
  readonly extended?: ExtendedPartition;
  /** GPT: every entry of the MBR, when it lists partitions beside the protective entry. */
  readonly hybrid?: readonly HybridEntry[];
}

export type FileSystemState = 'clean' | 'unclean' | 'hibernated' | 'unknown';

export interface FileSystemInfo {
  /** As blkid names it: ext4, xfs, vfat, swap, ntfs, btrfs, crypto_LUKS, LVM2_member, linux_raid_member, ... */
  readonly type: string;
  /** As /etc/fstab writes it. */
  readonly uuid: string;
  readonly label: string;
  /** Bytes that the file system claims; at most the image's size. 0 when not known. */
  readonly size: number;
  readonly state: FileSystemState;
}

/** Which bytes of a part hold something. `known: false` means: copy the part whole, and say why. */
export type UsedBlocks =
  | { readonly known: true; readonly used: IntervalSet }
  | { readonly known: false; readonly reason: string };

/**
 * One file system that we can read.
 *
 * `probe` answers undefined when this is not its file system and never throws for damaged input.
 * `usedBlocks` must not trust anything: time and memory are bounded by the size of the image, and what is
 * inconsistent, unclean or has an unknown feature flag answers `known: false` with the reason. It throws only for I/O errors.
 * The used set includes all metadata, and every byte behind the file system's own end (a tail that it does not describe).
 */
export interface FileSystemReader {
  readonly types: readonly string[];
  probe(part: ImageSource): Promise<FileSystemInfo | undefined>;
  usedBlocks(part: ImageSource): Promise<UsedBlocks>;
}
