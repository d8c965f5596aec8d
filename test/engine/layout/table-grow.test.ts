import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mergeTables } from '../../../src/engine/layout/merge.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { type Grown, growEntry, type NoRoom } from '../../../src/engine/layout/table-grow.ts';
import { canTranslate, translateTable } from '../../../src/engine/layout/table-translate.ts';
import { diskSize, MemoryDisk, MiB, sfdiskDisk, sfdiskReads, toolsAccept } from './table-disk.ts';
import { gpt, part, read, withProfile, written } from './table-parts.ts';

const grown = (result: Grown | NoRoom): Grown => {
  if ('blockedBy' in result) throw new Error(`blocked by ${result.blockedBy}`);
  return result;
};
const none = { diskSize, regions: [] };

test('the last part takes the space up to the last boundary before the backup', async () => {
  const { table, after } = grown(growEntry(gpt([part(1, 1, 4), part(2, 5, 4)]), 2, none));
  assert.is(((after.lastSector + 1) * 512) % MiB, 0);
  assert.is((after.lastSector + 1) * 512, diskSize - MiB);
  await toolsAccept(written(table));
});

test('a part grows up to the next part, a profile or a raw region, and names what it cannot pass', () => {
  const table = gpt([part(1, 1, 4), part(2, 10, 4)]);
  assert.is((grown(growEntry(table, 1, none)).after.lastSector + 1) * 512, 10 * MiB);
  const tight = growEntry(gpt([part(1, 1, 4), part(2, 5, 4)]), 1, none);
  assert.equal(tight, { atEnd: false, blockedBy: 'partition 2 ("part 2")' });
  const region = { offset: 20 * MiB + 4096, length: 4096, name: 'raw range', carrier: 'raw' };
  assert.is((grown(growEntry(table, 2, { diskSize, regions: [region] })).after.lastSector + 1) * 512, 20 * MiB);
  const full = growEntry(withProfile(gpt([part(1, 1, 30)])), 1, none);
  assert.equal(full, { atEnd: true, blockedBy: 'the end of the disk' });
});

test('a logical part grows with its extended one, up to the next boot record or primary part', async () => {
  const script =
    'label: dos\nlabel-id: 0x5eed0001\nstart=2048, size=4096\nstart=6144, size=16384, type=5\nstart=8192, size=4096\nstart=14336, size=8192\n';
  const table = await read(await sfdiskDisk(script));
  const last = grown(growEntry(table, 6, none));
  assert.is(last.table.extended?.lastSector, last.after.lastSector);
  assert.is((last.after.lastSector + 1) * 512, diskSize);
  const disk = new MemoryDisk(new Uint8Array(diskSize)).apply(encodeTable(last.table, diskSize));
  const { table: seen, complaints } = await sfdiskReads(disk);
  assert.is(complaints, '');
  assert.is(seen.partitions?.at(-1)?.size, last.after.lastSector + 1 - last.after.firstSector);
  assert.match((growEntry(table, 5, none) as NoRoom).blockedBy, 'boot record of partition 6');
  assert.match((growEntry(table, 1, none) as NoRoom).blockedBy, 'the extended partition 2');
});

test('an MBR table ends what grows at 2^32 - 1 sectors, logical parts together with their extended one, and says so', async () => {
  const huge = 3 * 2 ** 40;
  const script =
    'label: dos\nlabel-id: 0x5eed0001\nstart=2048, size=4096\nstart=6144, size=16384, type=5\nstart=8192, size=4096\n';
  const { extended, ...flat } = await read(await sfdiskDisk(script));
  const logical = grown(growEntry({ ...flat, ...(extended ? { extended } : {}) }, 5, { diskSize: huge, regions: [] }));
  const container = logical.table.extended ?? { firstSector: 0, lastSector: 0 };
  assert.is(container.lastSector, logical.after.lastSector);
  assert.ok(container.lastSector - container.firstSector + 1 > 2 ** 32 - 1 - 2048);
  assert.match(logical.limit ?? '', '2^32 - 1 sectors');
  encodeTable(logical.table, huge);
  const entries = flat.entries.filter(({ number }) => number === 1);
  const primary = grown(growEntry({ ...flat, entries }, 1, { diskSize: huge, regions: [] }));
  assert.match(primary.limit ?? '', '2^32 - 1 sectors');
  const again = growEntry(primary.table, 1, { diskSize: huge, regions: [] });
  assert.match((again as NoRoom).blockedBy, '2^32 - 1 sectors');
  assert.is((again as NoRoom).atEnd, true);
  assert.is(grown(growEntry({ ...flat, entries }, 1, none)).limit, undefined);
});

test('a table is translated between sectors of 512 and 4096 bytes, and the tools accept it', async () => {
  const source = gpt([part(1, 1, 4), part(2, 5, 8)]);
  const large = mergeTables({ source: translateTable(source, 4096), target: undefined, diskSize, targetSectorSize: 4096 }).table;
  await toolsAccept(written(large));
  assert.equal(
    large.entries.map(({ firstSector, lastSector }) => [firstSector, lastSector]),
    [
      [256, 1279],
      [1280, 3327],
    ],
  );
  const back = mergeTables({ source: translateTable(large, 512), target: undefined, diskSize }).table;
  assert.equal(back.entries, source.entries);
  await toolsAccept(written(back));
  const odd = { ...part(1, 1, 4), firstSector: 2049 };
  assert.is(canTranslate(odd, 512, 4096), false);
  assert.is(canTranslate(part(1, 1, 4), 512, 4096), true);
});

test.run();
