import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PartitionTable } from '../../../src/engine/layout/contract.ts';
import { fenceTable } from '../../../src/engine/layout/fence-table.ts';
import { mergeTables } from '../../../src/engine/layout/merge.ts';
import { resizedHybrid } from '../../../src/engine/layout/merge-hybrid.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { diskSize, MemoryDisk, MiB, sgdiskDisk, withTools } from './table-disk.ts';
import { gpt, part, read, withProfile } from './table-parts.ts';

/** Three parts, of which the MBR lists the first and, active, the third. */
const disk = await sgdiskDisk(['-n', '1:2048:+4M', '-n', '2:0:+4M', '-n', '3:0:+4M', '-t', '3:0700', '-h', '1:3']);
// The disk signature and the active flag are what sgdisk cannot set.
disk.bytes.set([0x01, 0x00, 0xed, 0x5e], 440);
const slotOf3 = [0, 1, 2, 3].find((slot) => disk.view(446 + slot * 16 + 8).getUint32(0, true) === 18_432) ?? 9;
disk.bytes[446 + slotOf3 * 16] = 0x80;
const source = await read(disk);

const mbrOf = (image: MemoryDisk) =>
  [0, 1, 2, 3].map((slot) => {
    const at = 446 + slot * 16;
    const view = image.view(at, 16);
    return `${image.bytes[at]} ${(image.bytes[at + 4] ?? 0).toString(16)} ${view.getUint32(8, true)}+${view.getUint32(12, true)}`;
  });

function write(table: PartitionTable, size = diskSize): MemoryDisk {
  return new MemoryDisk(new Uint8Array(size)).apply(encodeTable(table, size, { bootCode: table.mbr.subarray(0, 440) }));
}

async function accepted(image: MemoryDisk): Promise<void> {
  await withTools(image, async (path) => {
    const { stdout } = await execa('sgdisk', ['--verify', path]);
    assert.match(stdout, 'No problems found');
    assert.match((await execa('gdisk', ['-l', path])).stdout, 'MBR: hybrid');
  });
}

test('a hybrid MBR is copied whole, also to a larger disk', async () => {
  assert.is(slotOf3 < 4, true);
  const same = write(mergeTables({ source, target: undefined, diskSize }).table);
  assert.equal(mbrOf(same), mbrOf(disk));
  assert.is(same.view(440).getUint32(0, true), 0x5eed0001);
  await accepted(same);
  const { table, warnings } = mergeTables({ source, target: undefined, diskSize: 2 * diskSize });
  const larger = write(table, 2 * diskSize);
  assert.equal(warnings, []);
  await accepted(larger);
  assert.equal((await read(larger)).repairs, source.repairs);
});

test('a part that stays may stand where a protective entry covers it, as the profile in the gap does', async () => {
  const target = withProfile(gpt([]));
  const { table, warnings } = mergeTables({ source, target, diskSize });
  assert.equal(warnings, []);
  assert.is(table.hybrid?.length, source.hybrid?.length);
  await accepted(write(table));
});

test('where it would be wrong, a plain protective MBR takes its place, and the plan warns', () => {
  const outside = mergeTables({ source, target: gpt([part(7, 20, 4)]), diskSize, keep: () => true });
  assert.match(outside.warnings.join(), /does not cover partition 7 \("part 7"\), which stays/);
  assert.is(outside.table.hybrid, undefined);
  const skipped = mergeTables({ source, target: undefined, diskSize, skip: ({ number }) => number === 3 });
  assert.match(skipped.warnings.join(), /entry \d \(type \w+\) is partition 3.*, which is not copied/);
  assert.equal(mbrOf(write(skipped.table)).slice(1), ['0 0 0+0', '0 0 0+0', '0 0 0+0']);
  const foreign = {
    ...source,
    hybrid: source.hybrid?.map((entry) => (entry.type === 'EE' ? entry : { ...entry, lastSector: entry.lastSector + 1 })),
  };
  assert.match(
    mergeTables({ source: foreign as PartitionTable, target: undefined, diskSize }).warnings.join(),
    /is no partition of the GPT/,
  );
  const lost = mergeTables({
    source: gpt([part(1, 1, 4)]),
    target: { ...source, entries: source.entries.slice(2) },
    diskSize,
    keep: () => true,
  });
  assert.match(lost.warnings.join(), /the hybrid MBR of the target gives way/);
});

test('a fence has no hybrid MBR', () => {
  const { entries } = source;
  const options = {
    kind: 'gpt',
    sectorSize: 512,
    diskSize,
    stay: entries.slice(0, 1),
    overwritten: { offset: 0, length: diskSize },
  } as const;
  const fence = fenceTable({ target: source, runId: '5EED0000-0000-4000-8000-0000000000F0', ...options });
  assert.match(mbrOf(write(fence))[0], /^0 ee 1\+/);
  assert.equal(mbrOf(write(fence)).slice(1), ['0 0 0+0', '0 0 0+0', '0 0 0+0']);
});

test('a part that grows grows in the MBR too', () => {
  const [, , last] = source.entries;
  if (!last) throw new Error('no third part');
  const after = { ...last, lastSector: last.lastSector + (2 * MiB) / 512 };
  const listed = resizedHybrid(source.hybrid ?? [], last, after).filter(({ type }) => type !== 'EE');
  assert.equal(listed.map(({ lastSector }) => lastSector).sort(), [source.entries[0]?.lastSector, after.lastSector].sort());
});

test.run();
