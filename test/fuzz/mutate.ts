/** Changes of binary samples: where it matters, and with the values that programs stumble over. */
import type { ByteRange } from '../../src/engine/image/contract.ts';
import type { Random } from './random.ts';
import type { ChangedBytes } from './sparse.ts';

export interface MutateOptions {
  /** What is worth changing; each as often as the others, however long it is. */
  readonly places: readonly ByteRange[];
  /** Another sample and its places, to take bytes from. */
  readonly other?: { readonly bytes: ChangedBytes; readonly places: readonly ByteRange[] };
  /** Whether the image may become shorter or longer. */
  readonly resize: boolean;
}

/** One to a few changes, noted in `bytes`. Answers whether it was one flipped bit and nothing else. */
export function mutate(bytes: ChangedBytes, random: Random, options: MutateOptions): 'bit' | 'cut' | 'more' {
  if (options.resize && random.once(12)) {
    cut(bytes, random);
    return 'cut';
  }
  if (random.once(5)) {
    flip(bytes, random, options);
    return 'bit';
  }
  for (let count = random.once(2) ? 1 : 2 + random.below(4); count > 0; count--) random.pick(mutators)(bytes, random, options);
  return 'more';
}

type Mutator = (bytes: ChangedBytes, random: Random, options: MutateOptions) => void;

const mutators: readonly Mutator[] = [flip, run, number, number, number, number, splice, duplicate, swap];

/** Half of the time among the first bytes of a place, where headers are; mostly where something stands. */
function somewhere(bytes: ChangedBytes, random: Random, places: readonly ByteRange[]): number {
  let at = 0;
  for (let tries = 0; tries < 6; tries++) {
    const place = random.pick(places);
    at = place.offset + random.below(random.once(2) ? Math.min(place.length, 320) : place.length);
    if (!bytes.isZero(at) && (random.once(3) || bytes.get(at, 1)[0] !== 0)) return at;
  }
  return at;
}

function note(bytes: ChangedBytes, offset: number, value: Uint8Array, why: string): void {
  if (bytes.log.length < 40) {
    const text = Buffer.from(value.subarray(0, 16)).toString('hex');
    bytes.log.push(
      `${why} at ${offset}: ${bytes.get(offset, Math.min(16, value.length)).toString('hex')} -> ${text} (${value.length})`,
    );
  }
  bytes.touched.push({ offset, length: value.length });
  bytes.set(offset, value);
}

function flip(bytes: ChangedBytes, random: Random, { places }: MutateOptions): void {
  const at = somewhere(bytes, random, places);
  note(bytes, at, Buffer.of((bytes.get(at, 1)[0] as number) ^ (1 << random.below(8))), 'bit');
}

function run(bytes: ChangedBytes, random: Random, { places }: MutateOptions): void {
  const at = somewhere(bytes, random, places);
  const length = 1 + random.below(random.once(4) ? 512 : 16);
  const value = random.once(2) ? random.bytes(length) : Buffer.alloc(length, random.pick([0, 0xff, random.below(256)]));
  note(bytes, at, value, 'run');
}

function number(bytes: ChangedBytes, random: Random, { places }: MutateOptions): void {
  const width = random.pick([1, 2, 4, 4, 8, 8]);
  const raw = somewhere(bytes, random, places);
  const at = random.once(6) ? raw : raw - (raw % width);
  const little = !random.once(2);
  const old = readNumber(bytes.get(at, width), little);
  const { size } = bytes;
  const near = [-1n, 0n, 1n].map((step) => {
    const unit = random.pick([1, 512, 1024, 4096, 32768, 1 << 20]);
    return BigInt(Math.floor(size / unit)) + step;
  });
  const powers = [7, 8, 15, 16, 31, 32, 44, 52, 53, 62, 63, 64].map((power) => (1n << BigInt(power)) - BigInt(random.below(2)));
  const value = random.pick([
    0n,
    1n,
    2n,
    -1n,
    -2n,
    old + 1n,
    old - 1n,
    old * 2n,
    old / 2n,
    ~old,
    ...near,
    ...powers,
    BigInt(random.u32()),
  ]);
  note(bytes, at, writeNumber(value, width, little), `${width * 8} bits`);
}

function readNumber(bytes: Buffer, little: boolean): bigint {
  const ordered = little ? Buffer.from(bytes).reverse() : bytes;
  return BigInt(`0x${ordered.toString('hex')}`);
}

function writeNumber(value: bigint, width: number, little: boolean): Buffer {
  const hex = BigInt.asUintN(width * 8, value)
    .toString(16)
    .padStart(width * 2, '0');
  const bytes = Buffer.from(hex, 'hex');
  return little ? bytes.reverse() : bytes;
}

/** Bytes from elsewhere, also from another sample. */
function splice(bytes: ChangedBytes, random: Random, { places, other }: MutateOptions): void {
  const from = other !== undefined && random.once(2) ? other : { bytes, places };
  const length = random.pick([4, 8, 16, 32, 64, 512, 1024]);
  const source = somewhere(from.bytes, random, from.places);
  const at = somewhere(bytes, random, places);
  const align = Math.min(length, 512);
  note(bytes, at - (at % align), from.bytes.get(source - (source % align), length), 'splice');
}

/** A whole block stands where another should. */
function duplicate(bytes: ChangedBytes, random: Random, { places }: MutateOptions): void {
  const block = random.pick([512, 1024, 4096]);
  const [from, to] = [somewhere(bytes, random, places), somewhere(bytes, random, places)];
  note(bytes, to - (to % block), bytes.get(from - (from % block), block), 'block');
}

/** Two fields change places. */
function swap(bytes: ChangedBytes, random: Random, { places }: MutateOptions): void {
  const width = random.pick([2, 4, 8, 16]);
  const [a, b] = [0, 1].map(() => {
    const at = somewhere(bytes, random, places);
    return at - (at % width);
  }) as [number, number];
  const [atA, atB] = [bytes.get(a, width), bytes.get(b, width)];
  note(bytes, a, atB, 'swap');
  note(bytes, b, atA, 'swap');
}

function cut(bytes: ChangedBytes, random: Random): void {
  const { size } = bytes.base;
  if (random.once(4)) bytes.size = size + random.pick([1, 511, 512, 4096, 65536, 1 << 20]);
  else if (random.once(3)) bytes.size = Math.max(0, size - random.pick([1, 511, 512, 513, 4096, 65536]));
  else bytes.size = Math.floor((random.u32() / 2 ** 32) ** 3 * size);
  bytes.log.push(`${size} bytes -> ${bytes.size}`);
}
