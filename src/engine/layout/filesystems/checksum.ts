/** The checksums that file systems keep in their metadata: CRC-32C (ext4, XFS) and CRC-16 (ext4's older group descriptors). */

/** Eight tables of 256 for slicing: table k moves a byte k places further through the register. */
const tables = makeTables(0x82f63b78, 8);
const crc16Table = makeTables(0xa001, 1);

function makeTables(polynomial: number, count: number): Uint32Array {
  const made = new Uint32Array(count * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    made[byte] = crc >>> 0;
  }
  for (let i = 256; i < made.length; i++) {
    const before = made[i - 256] as number;
    made[i] = ((before >>> 8) ^ (made[before & 0xff] as number)) >>> 0;
  }
  return made;
}

/**
 * The CRC-32C register after `bytes`, without the final inversion: this is what ext4 stores; XFS stores `~register`.
 * Reflected polynomial 0x82F63B78 (RFC 3720, appendix B.4).
 */
export function crc32c(register: number, bytes: Uint8Array): number {
  const t = tables;
  let crc = register | 0;
  let i = 0;
  for (const whole = bytes.length - 7; i < whole; i += 8) {
    const low =
      crc ^
      ((bytes[i] as number) |
        ((bytes[i + 1] as number) << 8) |
        ((bytes[i + 2] as number) << 16) |
        ((bytes[i + 3] as number) << 24));
    crc =
      (t[1792 + (low & 0xff)] as number) ^
      (t[1536 + ((low >>> 8) & 0xff)] as number) ^
      (t[1280 + ((low >>> 16) & 0xff)] as number) ^
      (t[1024 + (low >>> 24)] as number) ^
      (t[768 + (bytes[i + 4] as number)] as number) ^
      (t[512 + (bytes[i + 5] as number)] as number) ^
      (t[256 + (bytes[i + 6] as number)] as number) ^
      (t[bytes[i + 7] as number] as number);
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ (t[(crc ^ (bytes[i] as number)) & 0xff] as number);
  return crc >>> 0;
}

/** CRC-16 with the reflected polynomial 0xA001, as ext4 uses it for `uninit_bg` descriptors. */
export function crc16(register: number, bytes: Uint8Array): number {
  let crc = register;
  for (const byte of bytes) crc = (crc >>> 8) ^ (crc16Table[(crc ^ byte) & 0xff] as number);
  return crc;
}
