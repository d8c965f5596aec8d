/**
 * GUIDs as GPT stores them: the first three fields little-endian, the rest in order
 * (UEFI specification, appendix A "GUID and Time Formats").
 */

export const nilGuid = '00000000-0000-0000-0000-000000000000';

const diskOrder = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isGuid(text: string): boolean {
  return pattern.test(text);
}

/** Upper-case text of the 16 bytes at `offset`. */
export function readGuid(bytes: Uint8Array, offset: number): string {
  const hex = diskOrder.map((index) => (bytes[offset + index] as number).toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-').toUpperCase();
}

/** @throws RangeError when `text` is not a GUID. */
export function writeGuid(bytes: Uint8Array, offset: number, text: string): void {
  if (!isGuid(text)) throw new RangeError(`not a GUID: ${text}`);
  const hex = text.replaceAll('-', '');
  for (const [position, index] of diskOrder.entries()) {
    bytes[offset + index] = Number.parseInt(hex.slice(position * 2, position * 2 + 2), 16);
  }
}
