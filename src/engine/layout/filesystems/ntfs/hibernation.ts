/**
 * Whether a hibernated Windows lies on the volume: `hiberfil.sys` in the root directory, told by its first bytes. Fast startup
 * hibernates the kernel and is seen the same way.
 * Format: the NTFS documentation of the Linux-NTFS project, "$INDEX_ROOT", "$INDEX_ALLOCATION"; signatures of `PO_MEMORY_IMAGE`.
 */
import { insist, isPowerOfTwo, u64le } from '../bytes.ts';
import { applyFixups, attributeType, type FileRecord, type FileReference, referenceAt } from './record.ts';
import type { Stream } from './stream.ts';
import { type NtfsVolume, systemFile } from './volume.ts';

const fileName = 'hiberfil.sys';
const hibernated = ['hibr', 'rstr', 'link'];
/** Left behind by a system that woke up. */
const woken = ['wake', '\0\0\0\0'];
const indexName = '$I30';
const flagSubnode = 1;
const flagLast = 2;
/** Bounds the search of a root directory (a root with a million files has some 100 MiB). */
const maxIndexBlocks = 65536;

/** @throws NotMappableError when the root directory or the file cannot be read, or its signature is not known. */
export async function isHibernated(volume: NtfsVolume): Promise<boolean> {
  const reference = await findInRoot(volume, fileName);
  if (reference === undefined) return false;
  const file = await volume.refer(reference);
  const signature = await startOf(volume, file);
  if (signature === '' || woken.includes(signature)) return false;
  insist(hibernated.includes(signature), `the start of ${fileName} is not known`);
  return true;
}

/** The first four bytes, in lower case; empty when the file has fewer. */
async function startOf(volume: NtfsVolume, file: FileRecord): Promise<string> {
  const data = await volume.find(file, attributeType.data, '');
  if (data === undefined) return '';
  if (data.value !== undefined) return data.value.length < 4 ? '' : data.value.toString('latin1', 0, 4).toLowerCase();
  if (data.extent?.size === 0) return '';
  const stream = await volume.stream(file, attributeType.data, '', fileName);
  return stream.size < 4 ? '' : (await stream.read(0, 4)).toString('latin1').toLowerCase();
}

/** Goes through the whole B+tree of the root directory; names are compared without case. */
async function findInRoot(volume: NtfsVolume, name: string): Promise<FileReference | undefined> {
  const root = await volume.record(systemFile.root);
  const top = (await volume.find(root, attributeType.indexRoot, indexName))?.value;
  insist(top !== undefined && top.length >= 32, 'the root directory has no index');
  const blockBytes = top.readUInt32LE(8);
  insist(isPowerOfTwo(blockBytes) && blockBytes >= 512 && blockBytes <= 65536, 'the index of the root directory makes no sense');
  const found = scan(top.subarray(16), name);
  if (found.reference !== undefined || found.children.length === 0) return found.reference;

  const blocks = await volume.stream(root, attributeType.indexAllocation, indexName, 'the index of the root directory');
  const unit = blockBytes >= volume.shape.clusterBytes ? volume.shape.clusterBytes : 512;
  const waiting: number[] = [];
  const met = new Set<number>();
  const follow = (children: readonly number[]): void => {
    for (const child of children) {
      insist(!met.has(child), `the index of the root directory comes back to block ${child}`);
      insist(met.size < maxIndexBlocks, `the root directory has more than ${maxIndexBlocks} index blocks`);
      met.add(child);
      waiting.push(child);
    }
  };
  follow(found.children);
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const inside = scan(await readBlock(blocks, next, unit, blockBytes), name);
    if (inside.reference !== undefined) return inside.reference;
    follow(inside.children);
  }
  return undefined;
}

/** The entries of an index block, from their header on. */
async function readBlock(blocks: Stream, vcn: number, unit: number, blockBytes: number): Promise<Buffer> {
  const bytes = await blocks.read(vcn * unit, blockBytes);
  const what = `index block ${vcn} of the root directory`;
  insist(bytes.toString('latin1', 0, 4) === 'INDX' && u64le(bytes, 16) === vcn, `${what} has no magic`);
  applyFixups(bytes, what);
  return bytes.subarray(24);
}

/** Looks through one list of entries. `header` begins with the index header. */
function scan(header: Buffer, name: string): { reference?: FileReference; children: number[] } {
  const broken = 'an index of the root directory makes no sense';
  const end = header.readUInt32LE(4);
  insist(end <= header.length, broken);
  const children: number[] = [];
  for (let at = header.readUInt32LE(0); ; ) {
    insist(at >= 16 && at + 16 <= end, broken);
    const length = header.readUInt16LE(at + 8);
    const flags = header.readUInt16LE(at + 12);
    insist(length >= 16 && length % 8 === 0 && at + length <= end, broken);
    if (flags & flagSubnode) {
      insist(length >= 24, broken);
      children.push(u64le(header, at + length - 8));
    }
    if (flags & flagLast) return { children };
    insist(length >= 16 + 66, broken);
    const nameEnd = at + 16 + 66 + (header[at + 16 + 64] as number) * 2;
    insist(nameEnd <= at + length, broken);
    if (header.toString('utf16le', at + 16 + 66, nameEnd).toLowerCase() === name) {
      return { reference: referenceAt(header, at), children };
    }
    at += length;
  }
}
