/**
 * Changes bytes of real small file systems and gives them to the readers. Only I/O errors may be thrown, and nothing may hang
 * or grow. Run by itself for a longer sweep: `FUZZ_COUNT=100000 FUZZ_SEED=7 node --import tsx test/engine/layout/filesystems/fuzz.ts`.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import type { ImageSource } from '../../../../src/engine/image/contract.ts';
import { identifyFileSystem, usedBlocks } from '../../../../src/engine/layout/filesystems.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { fill, inTempDir, MiB, makeImage, mounted, mustUse, random } from './fixtures.ts';
import { memory } from './open.ts';
import { sealBtrfs, sealExt, sealXfs } from './seal.ts';

/** A file system, the bytes worth changing, and how to make checksums right again after a change at `at`. */
export interface Sample {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly targets: readonly { readonly from: number; readonly length: number }[];
  /** What is used while nothing is changed. Where metadata is checksummed, a change must not lose any of it (unless sealed: a consistent lie). */
  readonly used: IntervalSet;
  readonly checksummed: boolean;
  seal(bytes: Uint8Array, at: number): void;
}

export interface Outcome {
  readonly known: number;
  readonly unknown: number;
  /** Reasons with their numbers taken out, and how often each was given. */
  readonly reasons: ReadonlyMap<string, number>;
}

/** More than a sample can need: XFS logs that seem empty (64 MiB here) are read whole, once to identify and once to map. */
const maxRead = 192 * MiB;

/** @throws whatever a reader throws, with the seed of the mutation in its message. */
export async function fuzz(samples: readonly Sample[], count: number, seed: number): Promise<Outcome> {
  const reasons = new Map<string, number>();
  let known = 0;
  for (let round = 0; round < count; round++) {
    const sample = samples[round % samples.length] as Sample;
    const undo: (readonly [number, Uint8Array])[] = [];
    const { image, sealed } = mutate(sample, random(seed + round), undo);
    try {
      await identifyFileSystem(counted(image));
      const result = await usedBlocks(counted(image));
      if (result.known) {
        known++;
        for (const range of result.used) {
          if (range.offset < 0 || range.offset + range.length > image.size) throw new Error('a range outside the image');
        }
        const lost = sample.used.subtract(result.used).intersect(IntervalSet.of({ offset: 0, length: image.size }));
        if (sample.checksummed && !sealed && lost.count > 0)
          throw new Error(`${lost.bytes} used bytes are called free, first at ${lost[Symbol.iterator]().next().value?.offset}`);
      } else {
        const reason = result.reason.replace(/\d+|0x[0-9a-f]+/g, 'N');
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      }
    } catch (error) {
      throw new Error(`${sample.name}, seed ${seed + round}: ${error}`, { cause: error });
    }
    for (const [at, bytes] of undo.reverse()) sample.bytes.set(bytes, at);
  }
  return { known, unknown: count - known, reasons };
}

/** Changes the sample in place, noting how to undo it; every twelfth image is cut short instead. */
function mutate(
  sample: Sample,
  next: () => number,
  undo: (readonly [number, Uint8Array])[],
): { image: ImageSource; sealed: boolean } {
  if (next() % 12 === 0) {
    const cut = sample.bytes.subarray(0, Math.floor((next() / 2 ** 32) ** 3 * sample.bytes.length));
    return { image: memory(cut), sealed: false };
  }
  const changes = 1 + (next() % 3);
  const touched: number[] = [];
  for (let i = 0; i < changes; i++) {
    const target = sample.targets[next() % sample.targets.length] as { from: number; length: number };
    const at = target.from + (next() % target.length);
    const field = at - (at % 4);
    // A whole 4 KiB block is kept: sealing changes other bytes of it.
    const block = field - (field % 4096);
    undo.push([block, sample.bytes.slice(block, block + 4096)]);
    const view = new DataView(sample.bytes.buffer, sample.bytes.byteOffset + field, 4);
    const interesting = [
      0,
      1,
      2,
      0xffffffff,
      0x7fffffff,
      0x80000000,
      view.getUint32(0) + 1,
      view.getUint32(0) - 1,
      next() % 4096,
    ];
    switch (next() % 4) {
      case 0:
        sample.bytes[at] = (sample.bytes[at] as number) ^ (1 << (next() & 7));
        break;
      case 1:
        view.setUint32(0, (interesting[next() % interesting.length] as number) >>> 0, true);
        break;
      case 2:
        view.setUint32(0, (interesting[next() % interesting.length] as number) >>> 0, false);
        break;
      default:
        view.setUint32(0, next());
    }
    touched.push(field);
  }
  const sealed = next() % 4 !== 0;
  if (sealed) for (const at of touched) sample.seal(sample.bytes, at);
  return { image: memory(sample.bytes), sealed };
}

/** An image that gives up after more reading than any sample needs: a reader that goes round in circles is found out. */
function counted(image: ImageSource): ImageSource {
  let read = 0;
  return {
    ...image,
    async read(into, offset) {
      read += into.length;
      if (read > maxRead) throw new Error(`more than ${maxRead} bytes were read`);
      await image.read(into, offset);
    },
  };
}

/** Real file systems of a few MiB (XFS: 320 MiB, mostly zero). */
export async function makeSamples(): Promise<Sample[]> {
  return inTempDir(async (directory) => {
    const samples: Sample[] = [];
    const add = async (name: string, size: number, mkfs: string, more: Pick<Sample, 'targets' | 'seal'>): Promise<void> => {
      const image = join(directory, name.replace(/\W/g, '-'));
      await makeImage(image, size, mkfs.split(' '));
      if (!/mkswap|vfat|crc=0/.test(mkfs)) await mounted(image, '', (root) => fill(root, { files: 30, largest: 300_000 }));
      const used = await mustUse(image);
      const checksummed = /^(ext4|xfs 5|btrfs)$/.test(name);
      samples.push({ name, bytes: new Uint8Array(await readFile(image)), used, checksummed, ...more });
    };
    const extTargets = [
      { from: 1024, length: 1024 },
      { from: 1024, length: 320 },
      { from: 2048, length: 1024 },
    ];
    const plain = { seal: () => {} };
    await add('ext2', 16 * MiB, 'mke2fs -q -F -t ext2 -b 1024', { targets: extTargets, ...plain });
    await add('ext4', 32 * MiB, 'mke2fs -q -F -t ext4 -b 1024', { targets: extTargets, seal: sealExt4 });
    await add('ext4 bigalloc', 32 * MiB, 'mke2fs -q -F -t ext4 -b 1024 -O bigalloc,^metadata_csum -C 4096', {
      targets: extTargets,
      ...plain,
    });
    await add('ext4 meta_bg', 32 * MiB, 'mke2fs -q -F -t ext4 -b 1024 -O meta_bg,^resize_inode,^metadata_csum', {
      targets: extTargets,
      ...plain,
    });
    const fatTargets = [
      { from: 0, length: 96 },
      { from: 512, length: 8192 },
    ];
    await add('fat12', 2 * MiB, 'mkfs.vfat -F 12 -R 1', { targets: fatTargets, ...plain });
    await add('fat16', 16 * MiB, 'mkfs.vfat -F 16 -R 1', { targets: fatTargets, ...plain });
    await add('fat32', 40 * MiB, 'mkfs.vfat -F 32 -s 1 -R 32', {
      targets: [
        { from: 0, length: 96 },
        { from: 16384, length: 4096 },
      ],
      ...plain,
    });
    await add('swap', MiB, 'mkswap -q', {
      targets: [
        { from: 1024, length: 600 },
        { from: 4080, length: 16 },
      ],
      ...plain,
    });
    for (const [name, options] of [
      ['xfs 4', '-m crc=0 -b size=4096'],
      ['xfs 5', '-b size=4096 -d agcount=4'],
    ] as const) {
      const image = join(directory, name.replace(' ', '-'));
      await add(name, 320 * MiB, `mkfs.xfs -q -f ${options}`, {
        targets: await xfsTargets(image, 320 * MiB, options),
        seal: name === 'xfs 5' ? sealXfs5 : () => {},
      });
    }
    await add('btrfs', 48 * MiB, 'mkfs.btrfs -q -f --mixed -m single -d single -n 4096', {
      targets: [],
      seal: sealBtrfsBlock,
    });
    const btrfs = samples.pop() as Sample;
    samples.push({ ...btrfs, targets: await btrfsTargets(join(directory, 'btrfs')) });
    return samples;
  });
}

/** Superblock, chunk tree, root tree, and the first blocks of the extent tree. */
async function btrfsTargets(image: string): Promise<Sample['targets']> {
  const blocks: number[] = [];
  for (const tree of ['chunk', 'root', 'extent']) {
    const { stdout } = await execa('btrfs', ['inspect-internal', 'dump-tree', '-t', tree, image]);
    blocks.push(...[...stdout.matchAll(/^(?:leaf|node) (\d+) (?:items|level)/gm)].slice(0, 4).map((match) => Number(match[1])));
  }
  if (blocks.length < 3) throw new Error('the sample has too few tree blocks');
  // Logical addresses are places: there is one copy, made where mkfs puts it.
  return [
    { from: 65536, length: 256 },
    { from: 65536 + 0x32b, length: 256 },
    ...blocks.flatMap((from) => [
      { from, length: 400 },
      { from: from + 3000, length: 1096 },
    ]),
  ];
}

function sealBtrfsBlock(bytes: Uint8Array, at: number): void {
  sealBtrfs(Buffer.from(bytes.buffer, bytes.byteOffset + at - (at % 4096), 4096));
}

/** Superblock, AGF, AGFL, the root of the free-space B+tree and the start of the log: found by xfs_db in an equal file system. */
async function xfsTargets(image: string, size: number, options: string): Promise<Sample['targets']> {
  await makeImage(image, size, ['mkfs.xfs', '-q', '-f', ...options.split(' ')]);
  const ask = async (...commands: string[]): Promise<number[]> => {
    const { stdout } = await execa('xfs_db', ['-r', ...commands.flatMap((command) => ['-c', command]), image]);
    return [...stdout.matchAll(/= (\d+)/g)].map((match) => Number(match[1]));
  };
  const [agBlocks, agLog, logStart, blockSize] = (await ask('sb 0', 'p agblocks agblklog logstart blocksize')) as [
    number,
    number,
    number,
    number,
  ];
  const log = (Math.floor(logStart / 2 ** agLog) * agBlocks + (logStart % 2 ** agLog)) * blockSize;
  const targets = [
    { from: 0, length: 264 },
    { from: log, length: 2048 },
  ];
  for (const group of [0, 1]) {
    const [root] = (await ask(`agf ${group}`, 'p bnoroot')) as [number];
    const base = group * agBlocks * blockSize;
    targets.push({ from: base + 512, length: 224 }, { from: base + 1536, length: 64 });
    targets.push({ from: base + root * blockSize, length: 160 });
  }
  return targets;
}

function sealExt4(bytes: Uint8Array, at: number): void {
  if (at < 2048) sealExt(Buffer.from(bytes.buffer, bytes.byteOffset + 1024, 1024));
}

/** By the magic at the start of the block or sector. */
function sealXfs5(bytes: Uint8Array, at: number): void {
  const places = [
    ['XFSB', 512, 224],
    ['XAGF', 512, 216],
    ['XAFL', 512, 32],
    ['AB3B', 4096, 52],
  ] as const;
  for (const [magic, length, field] of places) {
    const block = Buffer.from(bytes.buffer, bytes.byteOffset + at - (at % length), length);
    if (block.toString('latin1', 0, 4) === magic) sealXfs(block, field);
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const count = Number(process.env.FUZZ_COUNT ?? 20_000);
  const outcome = await fuzz(await makeSamples(), count, Number(process.env.FUZZ_SEED ?? 1));
  process.stdout.write(`${outcome.known} known, ${outcome.unknown} not known, no failure\n`);
  for (const [reason, times] of [...outcome.reasons].sort((a, b) => b[1] - a[1])) process.stdout.write(`${times}\t${reason}\n`);
}
