/** Whether a disk that a run was to make stands there because that run was killed: then the same command goes on with it. */
import { isDeepStrictEqual } from 'node:util';
import type { ImageSource } from '../image/contract.ts';
import { imageIdentity } from '../image/identity.ts';
import { findIncomplete } from '../layout/fence-table.ts';
import { readGuid } from '../layout/gpt-guid.ts';
import { readTable } from '../layout/table.ts';
import { standardArray } from '../layout/table-space.ts';
import { incompletePartitionType, profilePartitionType } from '../layout/types.ts';
import { allocationOf } from './contents.ts';
import { findJournal } from './journal.ts';

/** `path` as the user named it. */
export async function isUnfinished(image: ImageSource, path: string, stateDir: string | undefined): Promise<boolean> {
  const table = await readTable(image);
  if (table === undefined) return holdsNothingElse(image);
  if (findIncomplete(table) !== undefined) return true;
  if (stateDir === undefined) return false;
  // Committed, but the run was killed before it could say so.
  const identity = await imageIdentity(path, image.size, table.sectorSize);
  return (await findJournal(stateDir, ({ target }) => isDeepStrictEqual(target, identity))) !== undefined;
}

/** Room for the backup of a GPT; at sectors of 4096 bytes, which need the most. */
const TAIL = 5 * 4096;
/** What a container format or a file system allocates at once. */
const GRAIN = 1 << 20;
const sectorSizes = [512, 4096];

/** All zeros, or but for the entries of a fence's backup, the very first write of a run. */
async function holdsNothingElse(image: ImageSource): Promise<boolean> {
  const [first] = (await allocationOf(image)).data;
  if (first === undefined) return true;
  const from = Math.max(0, image.size - GRAIN);
  if (first.offset < from) return false;
  const bytes = new Uint8Array(image.size - from);
  await image.read(bytes, from);
  if (bytes.subarray(0, Math.max(0, bytes.length - TAIL)).some((byte) => byte !== 0)) return false;
  return sectorSizes.some((sectorSize) => isFenceArray(bytes, bytes.length - sectorSize));
}

/** Whether nothing but entries of a fence stands in the bytes; the array ends at `stop`. */
function isFenceArray(bytes: Uint8Array, stop: number): boolean {
  const start = stop - standardArray.count * standardArray.size;
  if (start < 0 || bytes.subarray(0, start).some((byte) => byte !== 0)) return false;
  if (bytes.subarray(stop).some((byte) => byte !== 0)) return false;
  for (let at = start; at < stop; at += standardArray.size) {
    const isBlank = !bytes.subarray(at, at + standardArray.size).some((byte) => byte !== 0);
    if (!isBlank && ![incompletePartitionType, profilePartitionType].includes(readGuid(bytes, at))) return false;
  }
  return true;
}
