/** For who looks at many small things in few places: what was read once is not asked for again. Over a network every read is a trip. */
import type { ImageSource } from './contract.ts';
import { isMediumError } from './errors.ts';
import { viewOf } from './view.ts';

/** Bytes that are read and kept at once; longer reads go to the source. */
const BLOCK = 1 << 15;
const BLOCKS = 128;

/** For a time in which nobody writes to the source. Where a block cannot be read as a whole, each read asks for its own bytes. */
export function withReadCache(source: ImageSource): ImageSource {
  const blocks = new Map<number, Promise<Uint8Array | undefined>>();
  const blockAt = (index: number): Promise<Uint8Array | undefined> => {
    const block = blocks.get(index) ?? readBlock(source, index * BLOCK);
    // The one that was used last is the last to go.
    blocks.delete(index);
    blocks.set(index, block);
    if (blocks.size > BLOCKS) blocks.delete(blocks.keys().next().value as number);
    return block;
  };
  return viewOf(source, async (into, offset) => {
    const index = Math.floor(offset / BLOCK);
    const start = offset - index * BLOCK;
    const inside = offset >= 0 && offset + into.length <= source.size;
    const block = inside && start + into.length <= BLOCK ? await blockAt(index) : undefined;
    if (block === undefined) return source.read(into, offset);
    into.set(block.subarray(start, start + into.length));
  });
}

async function readBlock(source: ImageSource, offset: number): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(Math.min(BLOCK, source.size - offset));
  try {
    await source.read(bytes, offset);
    return bytes;
  } catch (error) {
    if (isMediumError(error)) return undefined;
    throw error;
  }
}
