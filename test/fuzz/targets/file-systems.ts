/** Changed file systems: nobody throws or reads without end, no answer reaches over the part, and nothing that is used is lost. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ByteRange, ImageSource } from '../../../src/engine/image/contract.ts';
import type { FileSystemInfo, FileSystemReader, UsedBlocks } from '../../../src/engine/layout/contract.ts';
import { btrfs } from '../../../src/engine/layout/filesystems/btrfs.ts';
import { exfat } from '../../../src/engine/layout/filesystems/exfat.ts';
import { ext } from '../../../src/engine/layout/filesystems/ext.ts';
import { f2fs } from '../../../src/engine/layout/filesystems/f2fs.ts';
import { fat } from '../../../src/engine/layout/filesystems/fat.ts';
import { ntfs } from '../../../src/engine/layout/filesystems/ntfs.ts';
import { swap } from '../../../src/engine/layout/filesystems/swap.ts';
import { xfs } from '../../../src/engine/layout/filesystems/xfs.ts';
import { identifyFileSystem, usedBlocks } from '../../../src/engine/layout/filesystems.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import {
  btrfsSamples,
  exfatSamples,
  extSamples,
  type FsSample,
  f2fsSamples,
  fatSamples,
  lvmSamples,
  ntfsSamples,
  opaqueSamples,
  swapSamples,
  xfsSamples,
} from '../fs-samples.ts';
import { type MutateOptions, mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { ChangedBytes, SparseBytes } from '../sparse.ts';
import { type FuzzBody, type FuzzTarget, sound } from '../target.ts';

/** More than any sample needs: logs that seem empty (64 MiB) are read whole by whoever asks for the state, and again for the map. */
const mostRead = 256 << 20;
const mostReads = 100_000;
const states = ['clean', 'unclean', 'hibernated', 'unknown'];

interface Loaded {
  readonly sample: FsSample;
  readonly bytes: SparseBytes;
  readonly used: IntervalSet | undefined;
  readonly places: readonly ByteRange[];
}

function target(name: string, samples: readonly FsSample[], reader: FileSystemReader | undefined, share: number): FuzzTarget {
  return {
    name,
    share,
    async prepare(folder) {
      for (const [index, sample] of samples.entries()) {
        const own = join(folder, String(index));
        await mkdir(own);
        const image = join(own, 'image');
        await sample.make(image, own);
        await (await SparseBytes.ofFile(image)).save(join(folder, `${index}.sample`));
        await rm(own, { recursive: true });
      }
    },
    async open(folder) {
      const loaded: Loaded[] = [];
      for (const [index, sample] of samples.entries()) {
        loaded.push(await load(sample, await SparseBytes.load(join(folder, `${index}.sample`)), reader));
      }
      return new FileSystemBody(loaded, reader);
    },
  };
}

/** What the reader reads of the unchanged sample is what is worth changing. */
async function load(sample: FsSample, bytes: SparseBytes, reader: FileSystemReader | undefined): Promise<Loaded> {
  const unchanged = new ChangedBytes(bytes);
  const reads = new Map<string, ByteRange>();
  const image = unchanged.image(512, (offset, length) => reads.set(`${offset}+${length}`, { offset, length }));
  const probing = reader === undefined || sample.looksAtContents === true;
  const result = await (probing ? usedBlocks(image) : reader.usedBlocks(image));
  if (reader !== undefined && !result.known) throw new Error(`${sample.name}: the sample cannot be mapped: ${result.reason}`);
  const places = [...reads.values()].filter((range) => !isEmpty(unchanged, range));
  return {
    sample,
    bytes,
    used: result.known ? result.used : undefined,
    places: places.length > 0 ? places : [{ offset: 0, length: 65536 }],
  };
}

function isEmpty(bytes: ChangedBytes, { offset, length }: ByteRange): boolean {
  for (let at = offset; at < offset + length; at += 4096) if (!bytes.isZero(at)) return false;
  return bytes.isZero(offset + length - 1);
}

class FileSystemBody implements FuzzBody {
  readonly #samples: readonly Loaded[];
  readonly #reader: FileSystemReader | undefined;
  readonly reaches: readonly string[];
  #changes = '';

  constructor(samples: readonly Loaded[], reader: FileSystemReader | undefined) {
    this.#samples = samples;
    this.#reader = reader;
    this.reaches = samples.some(({ used }) => used !== undefined) ? ['known', 'not known'] : ['not known'];
  }

  changes(): string {
    return this.#changes;
  }

  async run(random: Random): Promise<string> {
    const one = random.pick(this.#samples);
    const bytes = new ChangedBytes(one.bytes);
    this.#changes = one.sample.name;
    const { kind, sealed } = change(one, this.#samples, bytes, random);
    this.#changes = `${one.sample.name}: ${kind}${sealed ? ', sealed' : ''}\n${bytes.log.join('\n')}`;

    const reader = one.sample.looksAtContents === true ? undefined : this.#reader;
    // Everything that could claim the part is asked only now and then: that is most of the work.
    const all = reader === undefined || random.once(4);
    const answer = all ? await askAll(bytes) : undefined;
    if (reader === undefined) return answer?.known ? checkLost(one, answer.used, kind, sealed, bytes.size) : 'not known';
    const result = await askReader(reader, one.sample, bytes);
    if (answer?.known) sound(result.known && result.used.bytes === answer.used.bytes, 'two answers for the same part');
    return result.known ? checkLost(one, result.used, kind, sealed, bytes.size) : 'not known';
  }
}

/** All readers and signatures. */
async function askAll(bytes: ChangedBytes): Promise<UsedBlocks> {
  checkInfo(await identifyFileSystem(bounded(bytes)), bytes.size);
  return checkAnswer(await usedBlocks(bounded(bytes)), bytes.size);
}

function checkAnswer(answer: UsedBlocks, size: number): UsedBlocks {
  if (answer.known) {
    for (const range of answer.used)
      sound(range.offset >= 0 && range.offset + range.length <= size, 'used reaches over the part');
  } else sound(answer.reason.length < 1000, `a reason of ${answer.reason.length} characters`);
  return answer;
}

/** Whatever the reader itself had to read is used. */
async function askReader(reader: FileSystemReader, sample: FsSample, bytes: ChangedBytes): Promise<UsedBlocks> {
  const reads: ByteRange[] = [];
  const answer = checkAnswer(
    await reader.usedBlocks(bounded(bytes, (offset, length) => reads.push({ offset, length }))),
    bytes.size,
  );
  if (!answer.known) return answer;
  for (const range of IntervalSet.of(...reads).subtract(answer.used)) {
    // btrfs looks at the first MiB for loaders, and calls it used where it is not zero.
    const head = sample.name.startsWith('btrfs') && range.offset < 1 << 20;
    const zero = head && bytes.get(range.offset, range.length).every((byte) => byte === 0);
    sound(zero, `what the reader read at ${range.offset}+${range.length} is not used`);
  }
  return answer;
}

function change(
  one: Loaded,
  all: readonly Loaded[],
  bytes: ChangedBytes,
  random: Random,
): { kind: 'bit' | 'cut' | 'more'; sealed: boolean } {
  const other = random.pick(all);
  const options: MutateOptions = {
    places: one.places,
    resize: true,
    ...(other === one ? {} : { other: { bytes: new ChangedBytes(other.bytes), places: other.places } }),
  };
  const kind = mutate(bytes, random, options);
  const seals = one.sample.seals ?? [];
  if (seals.length === 0 || kind === 'cut' || random.once(4)) return { kind, sealed: false };
  random.pick(seals)(bytes);
  return { kind, sealed: true };
}

/** @throws Unsound for a lost byte where the format would have shown the change. */
function checkLost(
  { sample, used: before }: Loaded,
  used: IntervalSet,
  kind: 'bit' | 'cut' | 'more',
  sealed: boolean,
  size: number,
): string {
  if (before === undefined) return 'known';
  const lost = before.subtract(used).intersect(IntervalSet.of({ offset: 0, length: size }));
  if (lost.count === 0) return 'known';
  const mustNot = !sealed && (sample.protects === 'any' || (sample.protects === 'bit' && kind === 'bit'));
  const [first] = lost;
  sound(!mustNot, `${lost.bytes} used bytes are called free, first at ${first?.offset}`);
  return sealed
    ? 'known, less is used: a consistent lie'
    : kind === 'bit'
      ? 'known, less is used after one bit'
      : 'known, less is used';
}

function checkInfo(info: FileSystemInfo | undefined, size: number): void {
  if (info === undefined) return;
  sound(/^[A-Za-z0-9_]+$/.test(info.type) && states.includes(info.state), 'type and state are known words');
  sound(Number.isSafeInteger(info.size) && info.size >= 0 && info.size <= size, `a size of ${info.size}`);
  sound(info.uuid.length <= 64 && info.label.length <= 1024, 'names are bounded');
}

/** A reader that goes round in circles is found out. */
function bounded(bytes: ChangedBytes, onRead?: (offset: number, length: number) => void): ImageSource {
  let read = 0;
  let reads = 0;
  return bytes.image(512, (offset, length) => {
    read += length;
    reads++;
    sound(read <= mostRead && reads <= mostReads, `${reads} reads of ${read} bytes in all`);
    onRead?.(offset, length);
  });
}

export const fileSystemTargets: readonly FuzzTarget[] = [
  target('ext', extSamples, ext, 1200),
  target('xfs', xfsSamples, xfs, 300),
  target('btrfs', btrfsSamples, btrfs, 400),
  target('fat', fatSamples, fat, 1000),
  target('exfat', exfatSamples, exfat, 1000),
  target('ntfs', ntfsSamples, ntfs, 500),
  target('f2fs', f2fsSamples, f2fs, 350),
  target('swap', swapSamples, swap, 500),
  target('lvm', lvmSamples, undefined, 500),
  target('opaque', opaqueSamples, undefined, 600),
];
