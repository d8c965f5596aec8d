/** Data that is the same on every run: incompressible bytes, and text as logs hold it. */
import { createCipheriv, createHash } from 'node:crypto';

/** `length` bytes that no codec makes smaller. */
export function noise(seed: string, length: number): Uint8Array {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16)).update(new Uint8Array(length));
}

/** About `length` bytes of log lines. */
export function logText(seed: string, length: number): string {
  const random = noise(seed, Math.ceil(length / 80) * 8);
  const lines: string[] = [];
  let written = 0;
  for (let index = 0; written < length && index + 8 <= random.length; index += 8) {
    const view = new DataView(random.buffer, random.byteOffset + index, 8);
    const line = `1750000000 app[${view.getUint16(0)}]: level=info request=${view.getUint32(2).toString(16)} status=${view.getUint8(6) < 240 ? 200 : 500} path=/api/item/${view.getUint16(6)}\n`;
    lines.push(line);
    written += line.length;
  }
  return lines.join('');
}

/** Pages of 4096 bytes as a database has them: half of each is empty. */
export function databasePages(seed: string, pages: number): Uint8Array {
  const file = new Uint8Array(pages * 4096);
  const content = noise(seed, pages * 2048);
  for (let page = 0; page < pages; page++) file.set(content.subarray(page * 2048, (page + 1) * 2048), page * 4096);
  return file;
}
