/**
 * Swap space of Linux: only its first page matters, unless a hibernated system lies in it.
 * Format: mkswap(8) and the kernel's `union swap_header`; signatures of hibernation as blkid knows them.
 */
import type { ImageSource } from '../../image/contract.ts';
import { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, UsedBlocks } from '../contract.ts';
import { insist, mapped, peek, readAt, text, uuidText } from './bytes.ts';

const pageSizes = [4096, 8192, 16384, 32768, 65536];
const headerOffset = 1024;
/** From the header to the list of bad pages. */
const badPagesOffset = 1536;
const hibernationMagics = ['S1SUSPEND', 'S2SUSPEND', 'ULSUSPEND', '\xed\xc3\x02\xe9\x98\x56\xe5\x0c', 'LINHIB0001'];

interface Found {
  readonly pageSize: number;
  readonly kind: 'swap' | 'old-swap' | 'hibernated';
}

export const swap: FileSystemReader = {
  types: ['swap', 'swsuspend'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const found = await find(part);
    const page = found && (await peek(part, 0, found.pageSize));
    if (found === undefined || page === undefined) return undefined;
    if (found.kind === 'old-swap') return { type: 'swap', uuid: '', label: '', size: 0, state: 'unknown' };
    return {
      type: found.kind === 'hibernated' ? 'swsuspend' : 'swap',
      uuid: uuidText(page, headerOffset + 12),
      label: text(page, headerOffset + 28, 16),
      size: Math.min((page.readUInt32LE(headerOffset + 4) + 1) * found.pageSize, part.size),
      state: found.kind === 'hibernated' ? 'hibernated' : 'clean',
    };
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const found = await find(part);
      insist(found !== undefined, 'there is no swap signature');
      insist(found.kind !== 'hibernated', 'a hibernated system lies in it');
      insist(found.kind === 'swap', 'it is swap space of version 0');
      const { pageSize } = found;
      const page = await readAt(part, 0, pageSize, 'the swap header');
      const version = page.readUInt32LE(headerOffset);
      insist(version === 1, `swap version ${version} is not known (or of another byte order)`);
      const size = (page.readUInt32LE(headerOffset + 4) + 1) * pageSize;
      insist(size > pageSize && size <= part.size, `the swap space has ${size} bytes, the part ${part.size}`);
      const badPages = page.readUInt32LE(headerOffset + 8);
      insist(badPages <= (pageSize - badPagesOffset - 10) / 4, `${badPages} bad pages make no sense`);
      return IntervalSet.of({ offset: 0, length: pageSize }, { offset: size, length: part.size - size });
    });
  },
};

/** Signs of hibernation win, at whatever page size: one that is overlooked would be lost. */
async function find(part: ImageSource): Promise<Found | undefined> {
  let found: Found | undefined;
  for (const pageSize of pageSizes) {
    const magic = (await peek(part, pageSize - 10, 10))?.toString('latin1');
    if (magic === undefined) break;
    if (hibernationMagics.some((known) => magic.startsWith(known))) return { pageSize, kind: 'hibernated' };
    if (magic === 'SWAPSPACE2') found ??= { pageSize, kind: 'swap' };
    if (magic === 'SWAP-SPACE') found ??= { pageSize, kind: 'old-swap' };
  }
  return found;
}
