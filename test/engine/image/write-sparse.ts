/** Writes content into a file that reads as zeros, leaving out what is zero, in grains of 64 KiB. */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';

const GRAIN = 1 << 16;

export function writeSparse(path: string, content: Uint8Array): void {
  const fd = openSync(path, 'r+');
  for (let at = 0; at < content.length; at += GRAIN) {
    const grain = content.subarray(at, at + GRAIN);
    if (grain.some((byte) => byte !== 0)) writeSync(fd, grain, 0, grain.length, at);
  }
  fsyncSync(fd);
  closeSync(fd);
}
