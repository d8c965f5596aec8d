/** Puts right checksums into changed metadata, so that what lies behind the checksum is tested. Bit by bit, not with our tables. */

function crc32cBitwise(register: number, bytes: Uint8Array): number {
  let crc = register;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return crc >>> 0;
}

/** XFS: over the block with the field as zero, inverted, little-endian. */
export function sealXfs(block: Buffer, at: number): void {
  block.writeUInt32LE(0, at);
  block.writeUInt32LE(~crc32cBitwise(0xffffffff, block) >>> 0, at);
}

/** The superblock of ext4 with metadata_csum: 1024 bytes. */
export function sealExt(superblock: Buffer): void {
  superblock.writeUInt32LE(crc32cBitwise(0xffffffff, superblock.subarray(0, 0x3fc)), 0x3fc);
}

/** Group descriptor `group` of ext4 with metadata_csum, 32 or 64 bytes, for a file system with this UUID. */
export function sealExtDescriptor(descriptor: Buffer, group: number, uuid: Uint8Array): void {
  descriptor.writeUInt16LE(0, 0x1e);
  const number = Buffer.alloc(4);
  number.writeUInt32LE(group);
  const seed = crc32cBitwise(0xffffffff, uuid);
  descriptor.writeUInt16LE(crc32cBitwise(crc32cBitwise(seed, number), descriptor) & 0xffff, 0x1e);
}

/** A superblock or tree block of btrfs with crc32c: over everything behind the 32 bytes that are set aside for checksums. */
export function sealBtrfs(block: Buffer): void {
  block.writeUInt32LE(~crc32cBitwise(0xffffffff, block.subarray(32)) >>> 0, 0);
}

/** f2fs: CRC-32 that starts from the file system's magic, over what stands before it. */
export function sealF2fs(block: Buffer, at: number): void {
  let crc = 0xf2f52010;
  for (const byte of block.subarray(0, at)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  block.writeUInt32LE(crc >>> 0, at);
}
