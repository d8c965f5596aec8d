/** What an archive consists of: frames, layouts with their range sets, machines, tars. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FrameError, readFrame } from '../../../src/engine/archive/frame.ts';
import { decodeLayout, encodeLayout, LayoutError, LayoutVersionError } from '../../../src/engine/archive/layout.ts';
import { type TarBytes, tarEntries } from '../../../src/engine/archive/tar-entries.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { Zstd } from '../../../src/engine/archive/zstd.ts';
import { decodeMachine, encodeMachine, MachineError } from '../../../src/engine/duplicate/machine.ts';
import { end } from '../../../src/engine/image/contract.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { sample, write } from '../../engine/archive/samples.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { ChangedBytes, SparseBytes } from '../sparse.ts';
import { type FuzzTarget, sound } from '../target.ts';
import { mutateText } from '../text.ts';
import { refusable, simple } from './texts.ts';

/** A changed copy of the sample, noted in the log. */
function changed(base: SparseBytes, random: Random, log: string[]): Buffer {
  const bytes = new ChangedBytes(base);
  mutate(bytes, random, { places: [{ offset: 0, length: base.size }], resize: true });
  log.push(...bytes.log);
  return bytes.get(0, bytes.size);
}

/** One of ours, or what `work` gives. */
async function orRefused<T>(
  work: () => Promise<T> | T,
  ...kinds: readonly (new (
    ...args: never[]
  ) => Error)[]
): Promise<{ readonly value: T } | undefined> {
  try {
    return { value: await work() };
  } catch (error) {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
    return undefined;
  }
}

const frameTarget = simple('zstd frames', 1500, ['refused', 'read'], async () => {
  const zstd = Zstd.usual();
  const content = Buffer.from('a segment of a disk, and more of it; '.repeat(300));
  const bases = [SparseBytes.of(await zstd.compress(content, 3)), SparseBytes.of(await zstd.compress(Buffer.alloc(20000, 7), 1))];
  return async (random, log) => {
    const frame = changed(random.pick(bases), random, log);
    const found = await orRefused(() => readFrame(frame), FrameError);
    if (found === undefined) return 'refused';
    sound(found.value.contentSize >= 0, 'a size');
    // As the reader has it, which knows the size.
    if (found.value.contentSize > 1 << 20) return 'too large';
    const read = await orRefused(() => zstd.decompress(frame, found.value.contentSize), FrameError);
    return read === undefined ? 'refused' : 'read';
  };
});

const layoutTarget = simple('archive layouts', 3000, ['refused', 'read'], async () => {
  const base = SparseBytes.of(encodeLayout(sample().layout));
  return async (random, log) => {
    const content = changed(base, random, log);
    const found = await orRefused(() => decodeLayout(content), LayoutError, LayoutVersionError);
    if (found === undefined) return 'refused';
    for (const { size, data, zero } of found.value.images) {
      for (const set of [data, zero])
        for (const range of set) sound(range.offset >= 0 && end(range) <= size, 'ranges of the image');
      sound(data.intersect(zero).count === 0, 'data is not zero');
    }
    return 'read';
  };
});

const machineTarget = simple('archived machines', 3000, ['refused', 'read'], async () => {
  const entry = {
    number: 1,
    firstSector: 2048,
    lastSector: 4095,
    type: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
    guid: '5EED0000-0001-4000-8000-000000000001',
    name: 'root',
    attributes: 4n,
  };
  const table = {
    kind: 'gpt',
    sectorSize: 512,
    diskId: '5EED0000-0001-4000-8000-0000000000AA',
    firstUsable: 34,
    lastUsable: 8000,
    entries: [entry],
    repairs: [],
    ownRanges: [{ offset: 0, length: 512 }],
    mbr: new Uint8Array(512),
  } as const;
  const range = { offset: 1 << 20, length: 1 << 20 };
  const fs = { type: 'ext4', uuid: 'u', label: '', size: 1 << 20, state: 'clean' } as const;
  const part = { number: 1, entry, range, label: 'partition 1', kind: 'os', mountPoint: '/', fs } as const;
  const contents = new Map([[1, { how: 'used blocks of ext4', whole: false }]]);
  const text = JSON.stringify(encodeMachine('disk0', { table, parts: [part] }, contents, {}));
  const image = {
    name: 'disk0',
    size: 4 << 20,
    sectorSize: 512,
    data: IntervalSet.of({ offset: 0, length: 4096 }, range),
    zero: IntervalSet.empty,
  };
  return async (random, log) => {
    const words = ['null', '-1', '1e99', '"x"', '0', '[]', '{}', '"number":1,', '9007199254740993', '4294967296'];
    const bad = mutateText(text, random, { words, others: [text] }, log);
    let value: unknown;
    try {
      value = JSON.parse(bad);
    } catch {
      return 'no JSON';
    }
    const found = await orRefused(() => decodeMachine(value, [image], 'x'), MachineError);
    if (found === undefined) return 'refused';
    const { disk, contents: read, loaders } = found.value;
    for (const { number, range: place } of disk.parts) {
      sound(place.offset >= 0 && end(place) <= disk.size, 'a part on its disk');
      const { data, zero, unused } = read.get(number) as NonNullable<ReturnType<typeof read.get>>;
      sound(data.bytes + zero.bytes + unused.bytes === place.length, 'the contents are the part');
    }
    sound(loaders.subtract(image.data).count === 0, 'loaders are data');
    return 'read';
  };
});

const tarTarget: FuzzTarget = {
  ...simple('archive tars', 1500, ['refused', 'read'], async (folder) => {
    const base = SparseBytes.of(readFileSync(join(folder, 'sample.tar')));
    return async (random, log) => {
      const tar = changed(base, random, log);
      const found = await refusable(async () => {
        const paths: string[] = [];
        for await (const { path, offset, size } of tarEntries('x', bytesOf(tar))) {
          sound(offset >= 0 && size >= 0, 'places in the tar');
          sound(/^(oci-layout|index\.json|blobs\/sha256\/[0-9a-f]{64})$/.test(path), 'names of a layout');
          paths.push(path);
        }
        return paths;
      });
      return found === undefined ? 'refused' : 'read';
    };
  }),
  async prepare(folder) {
    const path = join(folder, 'sample.tar');
    rmSync(path, { force: true });
    await write(sample(1), await TarSink.toFile(path));
  },
};

function bytesOf(tar: Buffer): TarBytes {
  let offset = 0;
  return {
    get offset() {
      return offset;
    },
    async read(into) {
      const taken = tar.copy(into, 0, offset, offset + into.length);
      offset += taken;
      return taken === into.length;
    },
    async skip(length) {
      offset = Math.min(tar.length, offset + length);
      return offset < tar.length || length === 0;
    },
  };
}

export const archiveTargets: readonly FuzzTarget[] = [frameTarget, layoutTarget, machineTarget, tarTarget];
