/** CRC-32 as f2fs and LVM2 use it: the polynomial of Ethernet, reflected, with their own start values and no final inversion. */
import { crc32 as zlibCrc32 } from 'node:zlib';

/** The register after `bytes`; zlib inverts before and after. */
export function crc32(register: number, bytes: Uint8Array): number {
  return ~zlibCrc32(bytes, ~register >>> 0) >>> 0;
}
