/**
 * The checksum that btrfs keeps in front of its superblock and of every tree block: over everything behind the 32 bytes that
 * are set aside for it. Format: btrfs documentation, "On-disk format" and "Checksumming".
 */
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { NotMappableError } from '../bytes.ts';
import { crc32c } from '../checksum.ts';

/** Bytes in front of a block that its checksum takes at most, and that it does not cover. */
export const checksumSpace = 32;

export type Verify = (block: Buffer) => boolean;

type Xxh64 = (data: Buffer) => bigint;

/** How to verify blocks of a file system with this checksum type. @throws NotMappableError when there is no way. */
export function verifier(type: number): Verify {
  switch (type) {
    case 0:
      return (block) => ~crc32c(0xffffffff, block.subarray(checksumSpace)) >>> 0 === block.readUInt32LE(0);
    case 1: {
      // Loaded only where a file system needs it: it is a native module.
      const { xxh64 } = createRequire(import.meta.url)('@node-rs/xxhash') as { xxh64: Xxh64 };
      return (block) => xxh64(block.subarray(checksumSpace)) === block.readBigUInt64LE(0);
    }
    case 2:
      return (block) => createHash('sha256').update(block.subarray(checksumSpace)).digest().equals(block.subarray(0, 32));
    case 3:
      throw new NotMappableError('its checksums are BLAKE2, which doppel cannot verify');
    default:
      throw new NotMappableError(`checksum type ${type} is not known`);
  }
}
