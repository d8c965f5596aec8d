/** What must stand outside the parts: the table, boot code, loaders; and a target that is not finished. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { differenceError } from '../../../src/engine/duplicate/verify.ts';
import { openForInspection } from '../../../src/engine/image/open.ts';
import { fenceTable } from '../../../src/engine/layout/fence-table.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { assertEqual, differing, part } from './verified.ts';
import { Disks, flip, placeOf, writeBytes } from './verify-disks.ts';

const test = suite('verify, tables');
const disks = await Disks.make();
const twin = await disks.clone('twin.img', 'file');
const plain = await disks.clone('plain.img', 'none');
const root = disks.part('root');

test('a partition that was renamed, retyped or removed is told, and one that is new', async () => {
  const target = disks.copy(plain);
  const sfdisk = (args: string[], input?: string) =>
    execFileSync('sfdisk', ['--no-reread', '--no-tell-kernel', '-q', ...args], { ...(input === undefined ? {} : { input }) });
  sfdisk(['--part-label', target, '2', 'wrong']);
  sfdisk(['--delete', target, '3']);
  const result = await disks.verify(target, { as: 'none' });
  const told = result.differences.map(({ message }) => message);
  assert.equal(told, ['partition 2 ("root") differs in the table: name', 'partition 3 ("swap") is missing']);
  assert.equal(differing(result), [3]);
  assert.is(part(result, 3).method, 'skipped');
  const start = disks.part('swap').offset / 512;
  sfdisk(['--append', target], `start=${start}, size=2048\nstart=${start + 2048}, size=2048\n`);
  const more = await disks.verify(target, { as: 'none' });
  assert.equal(
    more.differences.map(({ message }) => message),
    [
      'partition 2 ("root") differs in the table: name',
      'partition 3 ("swap") differs in the table: place, type, guid, name',
      "partition 5 of the target is not in the source's table",
    ],
  );
});

test('boot code and a damaged table are told', async () => {
  const target = disks.copy(plain);
  flip(target, 100);
  flip(target, 512 + 60);
  const result = await disks.verify(target, { as: 'none' });
  assert.equal(
    result.differences.map(({ what }) => what),
    ['table', 'boot code'],
  );
});

test('a loader before the first partition must be there', async () => {
  const source = disks.copy(disks.source.path, 'loader-source.img');
  writeBytes(source, 200 * 512, Buffer.from('second stage of a boot loader'));
  const result = await disks.verify(plain, { source, as: 'none' });
  assert.equal(differing(result), [0]);
  assert.equal(part(result, 0).difference?.range.offset, 200 * 512);
  const hidden = await disks.verify(twin, { source });
  assert.ok(hidden.differences.some(({ message }) => /profile stands where the source has 4096 bytes/.test(message)));
  rmSync(source);
});

test('a fenced target has not finished', async () => {
  const target = disks.copy(twin);
  const image = await openForInspection(target);
  const table = await readTable(image);
  await image.close();
  if (table === undefined) throw new Error('no table');
  const fence = fenceTable({
    target: table,
    kind: 'gpt',
    sectorSize: 512,
    diskSize: disks.source.size,
    stay: table.entries.filter(({ number }) => number === 128),
    runId: '6F1E7E5A-0000-4000-8000-000000000001',
    overwritten: { offset: root.offset, length: root.size },
  });
  const writes = encodeTable(fence, disks.source.size);
  for (const { offset, bytes } of [...writes.backup, ...writes.primary, ...writes.mbr]) writeBytes(target, offset, bytes);
  const result = await disks.verify(target);
  assert.not(result.equal);
  assert.is(result.differences[0]?.what, 'unfinished');
  assert.ok(result.parts.every(({ method, equal }) => method === 'skipped' && !equal));
  assert.match(differenceError(result).todo, /command of the clone again/);
});

test('a skipped kind is neither expected nor compared', async () => {
  const target = disks.copy(twin);
  flip(target, placeOf(target, 'release=1'));
  const result = await disks.verify(target, { kinds: { skip: ['application'] } });
  assertEqual(result);
  assert.ok(result.notes.some((note) => /partition 4 of the source is not copied: its kind is skipped/.test(note)));
});

test.run();
