/**
 * A metadata area of an LVM2 physical volume: a header of one sector, then a ring that the description of the volume group is
 * written into, again and again.
 * Format: lvm2, lib/format_text/layout.h (`struct mda_header`, `struct raw_locn`).
 */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { insist, readAt, u64le } from '../bytes.ts';
import { crc32 } from '../crc32.ts';
import { checksumStart } from './label.ts';

const headerBytes = 512;
const magic = ' LVM2 x[5A%r0N*>';
const locationsAt = 40;
const locationBytes = 24;
const flagIgnored = 0x1;
/** Longer descriptions are not read; a group of a thousand volumes has about one MiB. */
const maxText = 8 << 20;

/** What an area holds: a description; nothing; or nothing that counts (LVM was told not to keep it up to date). */
export type Metadata =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'empty' }
  | { readonly kind: 'ignored' };

/** @throws NotMappableError for wrong checksums, unknown versions, and a change of the metadata that did not end. */
export async function readMetadataArea(part: ImageSource, area: ByteRange): Promise<Metadata> {
  const what = `the LVM metadata area at byte ${area.offset}`;
  const header = await readAt(part, area.offset, headerBytes, what);
  insist(header.readUInt32LE(0) === crc32(checksumStart, header.subarray(4)), `the checksum of ${what} is wrong`);
  insist(header.toString('latin1', 4, 20) === magic, `${what} has no magic`);
  insist(header.readUInt32LE(20) === 1, `version ${header.readUInt32LE(20)} of ${what} is not known`);
  insist(u64le(header, 24) === area.offset && u64le(header, 32) === area.length, `${what} says that it is another one`);
  const [committed, next] = [0, 1].map((i) => locationAt(header, locationsAt + i * locationBytes)) as [Location, Location];
  if (committed.flags & flagIgnored) return { kind: 'ignored' };
  insist(committed.flags === 0, `${what} has flags that are not known`);
  insist(next.offset === 0 || next.length === 0, 'a change of the LVM metadata did not end');
  if (committed.offset === 0 || committed.length === 0) return { kind: 'empty' };
  return { kind: 'text', text: await readText(part, area, committed, what) };
}

interface Location extends ByteRange {
  readonly checksum: number;
  readonly flags: number;
}

function locationAt(header: Buffer, at: number): Location {
  return {
    offset: u64le(header, at),
    length: u64le(header, at + 8),
    checksum: header.readUInt32LE(at + 16),
    flags: header.readUInt32LE(at + 20),
  };
}

async function readText(part: ImageSource, area: ByteRange, place: Location, what: string): Promise<string> {
  const { offset, length } = place;
  const fits = offset >= headerBytes && offset < area.length && length <= area.length - headerBytes && length <= maxText;
  insist(fits, `the description in ${what} lies outside of it`);
  // It goes on behind the header where the area ends.
  const first = Math.min(length, area.length - offset);
  const bytes = Buffer.concat([
    await readAt(part, area.offset + offset, first, what),
    await readAt(part, area.offset + headerBytes, length - first, what),
  ]);
  insist(crc32(checksumStart, bytes) === place.checksum, `the checksum of the description in ${what} is wrong`);
  const nul = bytes.indexOf(0);
  return bytes.toString('utf8', 0, nul < 0 ? bytes.length : nul);
}
