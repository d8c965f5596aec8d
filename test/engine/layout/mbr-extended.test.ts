import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PartitionTable } from '../../../src/engine/layout/contract.ts';
import { fenceTable } from '../../../src/engine/layout/fence-table.ts';
import { mergeTables } from '../../../src/engine/layout/merge.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { LogicalRecordError, PartsCollideError, TableCorruptError } from '../../../src/engine/layout/table-errors.ts';
import { entryRange, unpartitionedRanges } from '../../../src/engine/layout/table-space.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { diskSize, failure, MemoryDisk, sfdiskDisk, sfdiskReads, withTools } from './table-disk.ts';
import { read } from './table-parts.ts';

const head = 'label: dos\nlabel-id: 0x5eed0001\n';
/** Two primary parts around an extended one with three logical parts; sectors of 512 bytes. */
const script = `${head}start=2048, size=4096, type=83, bootable
start=6144, size=30720, type=5
start=36864, size=4096, type=82
start=8192, size=4096, type=83
start=14336, size=4096, type=82
start=20480, size=8192, type=83
`;
const disk = await sfdiskDisk(script);
const table = await read(disk);
const runId = '5EED0000-0000-4000-8000-0000000000F0';

/** Place, type and number of every entry, as sfdisk sees them. */
async function seen(image: MemoryDisk): Promise<string[]> {
  const { table: found, complaints } = await sfdiskReads(image);
  assert.is(complaints, '');
  return (found.partitions ?? []).map(
    ({ node, start, size, type, bootable }) =>
      `${/\d+$/.exec(node)?.[0]} ${start}+${size} ${type}${bootable === true ? ' *' : ''}`,
  );
}

async function verified(image: MemoryDisk): Promise<void> {
  await withTools(image, async (path) => {
    const { stdout, stderr } = await execa('sfdisk', ['--verify', path]);
    assert.match(stdout, 'No errors detected');
    assert.is(stderr, '');
    const listed = await execa('fdisk', ['--list', path], { env: { LC_ALL: 'C' } });
    assert.is(listed.stderr, '');
    await execa('parted', ['--script', path, 'print']);
  });
}

function apply(image: MemoryDisk, wanted: PartitionTable): MemoryDisk {
  return image.apply(encodeTable(wanted, image.size, { bootCode: wanted.mbr.subarray(0, 440) }));
}

test('logical partitions of sfdisk are read, with sectors of 512 and of 4096 bytes, and of parted', async () => {
  assert.equal(
    table.entries.map(
      (entry) => `${entry.number} ${entry.firstSector}+${entry.lastSector - entry.firstSector + 1} ${entry.guid}`,
    ),
    [
      '1 2048+4096 5eed0001-01',
      '3 36864+4096 5eed0001-03',
      '5 8192+4096 5eed0001-05',
      '6 14336+4096 5eed0001-06',
      '7 20480+8192 5eed0001-07',
    ],
  );
  assert.equal([table.extended?.number, table.extended?.firstSector, table.extended?.lastSector], [2, 6144, 36863]);
  assert.equal(
    table.ownRanges.map(({ offset }) => offset / 512),
    [0, ...table.entries.flatMap(({ recordSector }) => recordSector ?? [])],
  );
  const large = await sfdiskDisk(
    `${head}start=256, size=2048, type=5\nstart=512, size=256, type=83\nstart=1024, size=256, type=83\n`,
    diskSize,
    4096,
  );
  assert.equal(
    (await read(large)).entries.map(({ firstSector }) => firstSector),
    [512, 1024],
  );
  const parted = await withTools(new MemoryDisk(new Uint8Array(diskSize)), async (path) => {
    const steps =
      'mklabel msdos mkpart primary 1MiB 4MiB mkpart extended 4MiB 30MiB mkpart logical 5MiB 8MiB mkpart logical 9MiB 12MiB';
    await execa('parted', ['--script', path, ...steps.split(' ')]);
  });
  assert.equal(
    (await read(parted)).entries.map(({ number }) => number),
    [1, 5, 6],
  );
});

test('what is written is byte for byte what sfdisk wrote, addresses of heads and cylinders apart', async () => {
  const written = apply(new MemoryDisk(new Uint8Array(diskSize)), table);
  assert.equal(await seen(written), await seen(disk));
  await verified(written);
  for (const { offset } of table.ownRanges) {
    const bytes = (image: MemoryDisk) => {
      const sector = Buffer.from(image.bytes.subarray(offset, offset + 512));
      for (const entry of [446, 462]) for (const at of [1, 2, 3, 5, 6, 7]) sector[entry + at] = 0;
      return sector.toString('hex');
    };
    assert.is(bytes(written), bytes(disk), `sector ${offset / 512}`);
  }
});

test('a loader in the first boot record comes along, in a fence it does not', async () => {
  const loader = disk.copy();
  loader.bytes.set(new TextEncoder().encode('loader of the extended partition'), 6144 * 512);
  const found = await read(loader);
  const written = apply(new MemoryDisk(new Uint8Array(diskSize)), found);
  assert.is(Buffer.from(written.bytes.subarray(6144 * 512, 6144 * 512 + 32)).toString(), 'loader of the extended partition');
  const bare = new MemoryDisk(new Uint8Array(diskSize)).apply(encodeTable(found, diskSize));
  assert.is(bare.bytes[6144 * 512], 0);
});

test('an extended partition without logical ones is kept', async () => {
  const empty = await sfdiskDisk(`${head}start=2048, size=4096, type=83\nstart=6144, size=8192, type=f\n`);
  const found = await read(empty);
  assert.equal([found.entries.length, found.extended?.type], [1, '0F']);
  const { table: merged } = mergeTables({ source: found, target: undefined, diskSize });
  const written = apply(new MemoryDisk(new Uint8Array(diskSize)), merged);
  assert.equal(await seen(written), await seen(empty));
});

test('damaged chains are refused, and read in bounded time', async () => {
  const [, second] = table.entries.filter(({ number }) => number >= 5);
  const at = (second?.recordSector ?? 0) * 512;
  const cases: readonly (readonly [(image: MemoryDisk) => void, RegExp])[] = [
    [(image) => image.view(at + 462 + 8).setUint32(0, 0, true), /comes back to sector 6144/],
    [(image) => image.view(at + 462 + 8).setUint32(0, 0x7fff_ffff, true), /leads to sector \d+, outside partition 2/],
    [(image) => image.view(at + 446 + 12).setUint32(0, 0x00ff_ffff, true), /describes sectors 14336 to \d+, outside partition 2/],
    [(image) => image.view(at + 446 + 8).setUint32(0, 0, true), /outside partition 2/],
    [(image) => image.view(at + 510).setUint16(0, 0), /at sector \d+ has no signature/],
    [(image) => image.view(at + 446 + 12).setUint32(0, 8192, true), /partition 6, sectors 14336 to 22527, overlaps partition 7/],
    [(image) => image.bytes.copyWithin(at + 478, at + 446, at + 462), /describes 2 partitions/],
    [(image) => image.bytes.fill(0x05, 446 + 4, 446 + 5), /partition 1 and partition 2 are both extended/],
  ];
  for (const [damage, message] of cases) {
    const damaged = disk.copy();
    damage(damaged);
    const error = await failure(read(damaged));
    assert.instance(error, TableCorruptError);
    assert.match(error.message, message);
  }
  // A chain through every sector of the disk.
  const endless = disk.copy();
  for (let sector = 6144; sector < 36_000; sector++) {
    endless.bytes.fill(0, sector * 512, sector * 512 + 512);
    endless.bytes.set([0x55, 0xaa], sector * 512 + 510);
    endless.bytes[sector * 512 + 446 + 4] = 5;
    endless.view(sector * 512 + 446 + 8).setUint32(0, sector - 6144 + 1, true);
    endless.view(sector * 512 + 446 + 12).setUint32(0, 1, true);
  }
  assert.match((await failure(read(endless))).message, /has more than 124 records/);
});

test('a source without one of its logical partitions: the rest moves up, and it is told', async () => {
  const merged = mergeTables({ source: table, target: undefined, diskSize, skip: ({ number }) => number === 5 });
  assert.equal(
    merged.table.entries.map(({ number, firstSector }) => [number, firstSector]),
    [
      [1, 2048],
      [3, 36864],
      [5, 14336],
      [6, 20480],
    ],
  );
  assert.equal(merged.notes, ['partition 6 of the source becomes partition 5', 'partition 7 of the source becomes partition 6']);
  const written = apply(new MemoryDisk(new Uint8Array(diskSize)), merged.table);
  assert.equal((await seen(written)).length, 5);
  await verified(written);
  const none = mergeTables({ source: table, target: undefined, diskSize, skip: ({ number }) => number >= 5 });
  assert.is(none.table.extended, undefined);
});

/** Of a target with other places: a logical part that stays, at 28672, in an extended partition of its own. */
const targetScript = `${head.replace('0001', '0002')}start=2048, size=2048, type=83
start=4096, size=61440, type=5
start=6144, size=2048, type=83
start=30720, size=4096, type=83
start=45056, size=4096, type=83
`;

test('logical partitions that stay join the chain, whose places do not change', async () => {
  const target = await sfdiskDisk(targetScript);
  const before = await read(target);
  const keep = (entry: { firstSector: number }) => entry.firstSector === 30_720;
  const merged = mergeTables({ source: table, target: before, diskSize, keep });
  assert.equal(merged.notes[0], 'partition 6 of the target becomes partition 8');
  assert.match(merged.notes[1] ?? '', 'has the PARTUUID 5eed0001-08 from then on, not 5eed0002-06');
  const fence = fenceTable({
    target: before,
    kind: 'mbr',
    sectorSize: 512,
    diskSize,
    stay: merged.parts.filter(({ origin }) => origin !== 'source').map(({ entry }) => entry),
    runId,
    overwritten: { offset: 0, length: diskSize },
    reserved: IntervalSet.of(...merged.table.entries.map((entry) => entryRange(entry, 512)), ...merged.table.ownRanges),
  });
  // At every instant of both changes the part that stays can be reached.
  const steps: MemoryDisk[] = [];
  let now = target;
  for (const wanted of [fence, merged.table]) {
    const { primary, mbr } = encodeTable(wanted, diskSize, { bootCode: wanted.mbr.subarray(0, 440) });
    for (const write of [...primary, ...mbr]) {
      now = now.copy();
      now.bytes.set(write.bytes, write.offset);
      steps.push(now);
    }
  }
  for (const step of steps) assert.ok((await read(step)).entries.some(keep));
  const fenced = steps.find((step) => step.bytes[0] === 0xcd) as MemoryDisk;
  const inFence = await seen(fenced);
  assert.equal(
    inFence.filter((line) => !line.endsWith(' da') && !line.includes(' f')).map((line) => line.split(' ').slice(0, 2)),
    [['5', '30720+4096']],
  );
  assert.not(inFence.some((line) => line.endsWith('*')));
  await verified(fenced);
  await verified(now);
  assert.equal(
    (await read(now)).entries.map(({ number, firstSector }) => [number, firstSector]),
    [
      [1, 2048],
      [3, 36864],
      [5, 8192],
      [6, 14336],
      [7, 20480],
      [8, 30720],
    ],
  );
  // Merging once more, from the finished disk and from the fence, comes to the same.
  for (const disk of [now, fenced]) {
    const again = mergeTables({ source: table, target: await read(disk), diskSize, keep });
    const places = (entries: PartitionTable['entries']) =>
      entries.map(({ number, firstSector, lastSector }) => [number, firstSector, lastSector]);
    assert.equal(places(again.table.entries), places(merged.table.entries));
  }
});

test('logical partitions that stay bring their extended partition to a source without one, trimmed where it needs room', async () => {
  const plain = await read(await sfdiskDisk(`${head}start=2048, size=20480, type=83\n`));
  const target = await read(await sfdiskDisk(targetScript));
  const merged = mergeTables({ source: plain, target, diskSize, keep: ({ number }) => number >= 6 });
  assert.is(merged.table.extended?.number, 2);
  const written = apply(new MemoryDisk(new Uint8Array(diskSize)), merged.table);
  await verified(written);
  assert.equal(
    (await read(written)).entries.map(({ number, firstSector }) => [number, firstSector]),
    [
      [1, 2048],
      [5, 30720],
      [6, 45056],
    ],
  );
  const over = () => mergeTables({ source: plain, target, diskSize, keep: ({ number }) => number >= 5 });
  assert.throws(over, (error: Error) => error instanceof PartsCollideError);
});

test('without a sector for a boot record a logical partition cannot stay', async () => {
  const target = await read(await sfdiskDisk(targetScript));
  const fence = (reserved: IntervalSet) =>
    fenceTable({
      target,
      kind: 'mbr',
      sectorSize: 512,
      diskSize,
      stay: target.entries.slice(-1),
      runId,
      overwritten: { offset: 0, length: diskSize },
      reserved,
    });
  assert.ok(fence(IntervalSet.empty).extended);
  const all = IntervalSet.of({ offset: 0, length: diskSize });
  assert.throws(
    () => fence(all),
    (error: Error) => error instanceof LogicalRecordError,
  );
});

test('boot records belong to the table, the space around them to nobody', () => {
  const free = unpartitionedRanges(table, diskSize);
  for (const { offset } of table.ownRanges) assert.not(free.touches({ offset, length: 512 }));
  assert.ok(free.touches({ offset: 6145 * 512, length: 512 }));
});

test.run();
