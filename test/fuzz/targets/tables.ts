/**
 * Changed partition tables: what is accepted lies on the disk without overlaps, and says the same after it was written anew;
 * it can be merged, fenced and searched for profiles, or is refused with a reason.
 */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { execa } from 'execa';
import { DoppelError } from '../../../src/engine/errors.ts';
import { end } from '../../../src/engine/image/contract.ts';
import type { PartitionTable, TableEntry } from '../../../src/engine/layout/contract.ts';
import { fenceTable, findIncomplete, unhidden } from '../../../src/engine/layout/fence-table.ts';
import { describeType } from '../../../src/engine/layout/kinds.ts';
import { mergeTables } from '../../../src/engine/layout/merge.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { growEntry } from '../../../src/engine/layout/table-grow.ts';
import { entryRange, placeInGap, unpartitionedRanges } from '../../../src/engine/layout/table-space.ts';
import { translateTable } from '../../../src/engine/layout/table-translate.ts';
import { findRegions } from '../../../src/engine/profile/carriers/find.ts';
import { MemoryDisk, withTools } from '../../engine/layout/table-disk.ts';
import { gpt, part, withProfile } from '../../engine/layout/table-parts.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { ChangedBytes, SparseBytes } from '../sparse.ts';
import { type FuzzBody, type FuzzTarget, sound } from '../target.ts';

const MiB = 1 << 20;
const size = 16 * MiB;
const runId = '5EED0000-0000-4000-8000-0000000000F0';
/** Also of a whole chain of logical partitions. */
const mostReads = 400;
const mostRead = 12 * MiB;

interface TableSample {
  readonly name: string;
  readonly sectorSize: number;
  readonly assumed?: boolean;
  /** Input of sfdisk, or arguments of sgdisk. */
  readonly make: string | readonly string[];
  /** The table is replaced by its fence in the end. */
  readonly fenced?: true;
}

const gptScript =
  'label: gpt\nlabel-id: 5EED0000-0000-4000-8000-0000000000AA\nstart=1MiB, size=1MiB, name="a"\nsize=1MiB, name="b"\nsize=2MiB\n';
const mbrScript = `label: dos
label-id: 0x5eed0001
start=64, size=448, type=83, bootable
start=512, size=20000, type=5
start=21000, size=4000, type=82
start=576, size=400, type=83
start=1040, size=400, type=83
start=1600, size=4000, type=83
`;

const samples: readonly TableSample[] = [
  { name: 'gpt', sectorSize: 512, make: gptScript },
  { name: 'gpt 4096', sectorSize: 4096, assumed: true, make: gptScript },
  { name: 'gpt of 256', sectorSize: 512, make: ['-S', '256', '-n', '1:2048:+1M', '-n', '200:0:+1M', '-c', '200:name'] },
  { name: 'hybrid', sectorSize: 512, make: ['-n', '1:2048:+2M', '-n', '2:0:+2M', '-n', '3:0:+2M', '-t', '3:0700', '-h', '1:3'] },
  {
    name: 'mbr',
    sectorSize: 512,
    make: 'label: dos\nlabel-id: 0x5eed0002\nstart=1MiB, size=1MiB\nsize=1MiB, type=82, bootable\n',
  },
  { name: 'logical', sectorSize: 512, make: mbrScript },
  { name: 'gpt fence', sectorSize: 512, make: gptScript, fenced: true },
  { name: 'mbr fence', sectorSize: 512, make: mbrScript, fenced: true },
];

interface Loaded {
  readonly sample: TableSample;
  readonly bytes: SparseBytes;
  readonly table: PartitionTable;
  /** Sectors of the table itself. */
  readonly places: readonly { offset: number; length: number }[];
}

/** What stays where a changed table comes in, and the table that comes in where a changed one stays. */
const target = withProfile(gpt([part(1, 1, 1)], size), size);

export const tableTarget: FuzzTarget = {
  name: 'tables',
  share: 2000,
  async prepare(folder) {
    for (const sample of samples) await (await makeSample(sample)).save(join(folder, `${sample.name}.sample`));
  },
  async open(folder) {
    const loaded: Loaded[] = [];
    for (const sample of samples) {
      const bytes = await SparseBytes.load(join(folder, `${sample.name}.sample`));
      const table = await readTable(diskOf(new ChangedBytes(bytes), sample));
      if (table === undefined) throw new Error(`${sample.name}: the sample has no table`);
      loaded.push({ sample, bytes, table, places: table.ownRanges });
    }
    return new TableBody(loaded);
  },
};

async function makeSample(sample: TableSample): Promise<SparseBytes> {
  const disk = await withTools(new MemoryDisk(new Uint8Array(size), sample.sectorSize), async (path) => {
    if (typeof sample.make === 'string')
      await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', path], { input: sample.make });
    else await execa('sgdisk', [...sample.make, path]);
  });
  if (sample.fenced) {
    const table = await readTable(disk);
    if (table === undefined) throw new Error('no table');
    disk.apply(encodeTable(fenceOf(table, table.entries), size));
  }
  return SparseBytes.of(disk.bytes);
}

function fenceOf(table: PartitionTable, stay: readonly TableEntry[]): PartitionTable {
  const { sectorSize, kind } = table;
  return fenceTable({ target: table, kind, sectorSize, diskSize: size, stay, runId, overwritten: { offset: MiB, length: MiB } });
}

function diskOf(bytes: ChangedBytes, { sectorSize, assumed }: TableSample, onRead?: (offset: number, length: number) => void) {
  return { ...bytes.image(sectorSize, onRead), sectorSizeAssumed: assumed ?? false };
}

class TableBody implements FuzzBody {
  readonly reaches = ['read', 'refused', 'none'];
  readonly #samples: readonly Loaded[];
  #changes = '';

  constructor(loaded: readonly Loaded[]) {
    this.#samples = loaded;
  }

  changes(): string {
    return this.#changes;
  }

  async run(random: Random): Promise<string> {
    const one = random.pick(this.#samples);
    const other = random.pick(this.#samples);
    const bytes = new ChangedBytes(one.bytes);
    const splice = other === one ? {} : { other: { bytes: new ChangedBytes(other.bytes), places: other.places } };
    mutate(bytes, random, { places: one.places, resize: true, ...splice });
    if (random.once(3)) mirror(bytes, one);
    const sealed = !random.once(4);
    if (sealed) seal(bytes, one.sample.sectorSize);
    this.#changes = `${one.sample.name}${sealed ? ', sealed' : ''}\n${bytes.log.join('\n')}`;

    const table = await refusable(() => readBounded(bytes, one.sample));
    if (table === 'refused') return 'refused';
    if (table === undefined) return 'none';
    checkTable(table, bytes.size);
    await refusable(async () => findRegions(diskOf(bytes, one.sample), table));
    await checkRoundTrip(table, bytes.size);
    await refusable(() => merges(table, bytes.size, random));
    return 'read';
  }
}

/** The backup gets what the primary got: else only one copy would be read. */
function mirror(bytes: ChangedBytes, { table }: Loaded): void {
  if (table.kind !== 'gpt' || bytes.size !== size) return;
  const { sectorSize } = table;
  const array = Math.ceil(((table.array?.count ?? 128) * (table.array?.size ?? 128)) / sectorSize);
  bytes.set(size - (array + 1) * sectorSize, bytes.get(2 * sectorSize, array * sectorSize));
}

/** CRCs of both headers and of the arrays that they name. */
function seal(bytes: ChangedBytes, sectorSize: number): void {
  for (const at of [sectorSize, (Math.floor(bytes.size / sectorSize) - 1) * sectorSize]) {
    const header = bytes.get(at, sectorSize);
    if (header.toString('latin1', 0, 8) !== 'EFI PART') continue;
    const start = Number(header.readBigUInt64LE(72)) * sectorSize;
    const length = header.readUInt32LE(80) * header.readUInt32LE(84);
    if (start + length <= bytes.size && length <= 2 * MiB) header.writeUInt32LE(crc32(bytes.get(start, length)), 88);
    const headerSize = header.readUInt32LE(12);
    if (headerSize >= 20 && headerSize <= sectorSize) {
      header.writeUInt32LE(0, 16);
      header.writeUInt32LE(crc32(header.subarray(0, headerSize)), 16);
    }
    bytes.set(at, header);
  }
}

/** Errors of ours are answers. */
async function refusable<T>(work: () => Promise<T> | T): Promise<T | 'refused'> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DoppelError)) throw error;
    sound(error.message.length < 10_000, 'messages are bounded');
    return 'refused';
  }
}

function readBounded(bytes: ChangedBytes, sample: TableSample): Promise<PartitionTable | undefined> {
  let [reads, read] = [0, 0];
  const disk = diskOf(bytes, sample, (_, length) => {
    reads++;
    read += length;
    sound(reads <= mostReads && read <= mostRead, `${reads} reads of ${read} bytes`);
  });
  return readTable(disk);
}

function checkTable(table: PartitionTable, diskSize: number): void {
  let reached = 0;
  for (const entry of [...table.entries].sort((a, b) => a.firstSector - b.firstSector)) {
    const range = entryRange(entry, table.sectorSize);
    sound(Number.isSafeInteger(range.offset) && Number.isSafeInteger(range.length), 'whole numbers');
    sound(range.offset >= reached && range.length > 0, 'entries do not overlap');
    sound(end(range) <= diskSize, 'entries lie on the disk');
    reached = end(range);
    for (const own of table.ownRanges) {
      sound(own.offset >= end(range) || end(own) <= range.offset, `entry ${entry.number} lies on the table itself`);
    }
    describeType(table.kind, entry.type);
  }
  for (const own of table.ownRanges)
    sound(own.offset >= 0 && own.length > 0 && end(own) <= diskSize, 'the table itself lies on the disk');
  for (const free of unpartitionedRanges(table, diskSize)) sound(end(free) <= diskSize, 'free space lies on the disk');
  sound(table.repairs.join('').length < 10_000, 'what is told is bounded');
  const run = findIncomplete(table);
  sound(run === undefined || /^[0-9A-F-]{36}$/.test(run.runId), 'a run id is a GUID');
  unhidden(table);
}

function facts(table: PartitionTable | undefined): string {
  if (table === undefined) return 'none';
  const entries = table.entries.map((e) => [e.number, e.firstSector, e.lastSector, e.type, e.guid, e.name, String(e.attributes)]);
  const { extended: x, hybrid, diskId, kind } = table;
  const extended = x && [x.number, x.firstSector, x.lastSector, x.type, String(x.attributes)];
  return JSON.stringify({ kind, diskId, entries, extended, hybrid });
}

/** Written anew, it is the same table; or it is refused. */
async function checkRoundTrip(table: PartitionTable, diskSize: number): Promise<void> {
  const writes = await refusable(() => encodeTable(table, diskSize, { bootCode: table.mbr.subarray(0, 440) }));
  if (writes === 'refused') return;
  const blank = new ChangedBytes(new SparseBytes(diskSize, new Map()));
  for (const { offset, bytes } of [...writes.backup, ...writes.primary, ...writes.mbr]) {
    sound(offset >= 0 && offset + bytes.length <= diskSize, 'writes lie on the disk');
    sound(
      !table.entries.some((entry) => touches(entryRange(entry, table.sectorSize), offset, bytes.length)),
      'writes spare the parts',
    );
    blank.set(offset, bytes);
  }
  const again = await readTable(diskOf(blank, { name: '', make: '', sectorSize: table.sectorSize }));
  sound(facts(again) === facts(table), `written and read it is another table:\n${facts(table)}\n${facts(again)}`);
}

function touches(range: { offset: number; length: number }, offset: number, length: number): boolean {
  return range.offset < offset + length && offset < end(range);
}

/** As source and as target, with what stays. */
function merges(table: PartitionTable, diskSize: number, random: Random): void {
  placeInGap(table, diskSize);
  const asSource = mergeTables({
    source: table,
    target: table.sectorSize === 512 ? target : undefined,
    diskSize: Math.max(diskSize, size),
  });
  encodeTable(asSource.table, Math.max(diskSize, size));
  const kept = random.below(8);
  const other: PartitionTable = table.kind === 'gpt' ? gpt([part(1, 4, 1)], size) : { ...table, entries: [] };
  if (table.kind === 'gpt' && table.sectorSize !== 512) translateTable(table, 512);
  else {
    const merged = mergeTables({ source: other, target: table, diskSize, keep: ({ number }) => number !== kept });
    encodeTable(merged.table, diskSize);
    const stay = merged.parts.filter(({ origin }) => origin !== 'source').map(({ entry }) => entry);
    const fence = fenceTable({
      target: table,
      kind: table.kind,
      sectorSize: table.sectorSize,
      diskSize,
      stay,
      runId,
      overwritten: { offset: 0, length: diskSize },
    });
    encodeTable(fence, diskSize);
    sound(findIncomplete(fence)?.runId === runId, 'a fence says whose it is');
    for (const { firstSector } of stay)
      sound(
        fence.entries.some((entry) => entry.firstSector === firstSector),
        'a fence holds what stays',
      );
  }
  const [first] = table.entries;
  if (first) growEntry(table, first.number, { diskSize, regions: [] });
}
