/** What is told of two archives: which parts differ, and how much of the one a disk lacks that holds the other. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { openArchive } from '../../../src/engine/archive/open.ts';
import { type ArchiveDiff, diffArchives } from '../../../src/engine/duplicate/archive-diff.ts';
import type { CaptureRequest } from '../../../src/engine/duplicate/capture-plan.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { capture } from './captures.ts';
import { copyPart, MiB, makeSmallDisk, parts, tool, writeInto } from './small-disk.ts';

const folder = tempDir('archive-diff');
const at = (name: string): string => join(folder, name);
const source = at('source.img');

test.before(async () => {
  await makeSmallDisk(at('sparse.img'));
  execFileSync('cp', ['--sparse=never', at('sparse.img'), source]);
  await captured('old', source);
  await captured('old-8', source, { segmentSize: 8 * MiB });
});

async function captured(name: string, disk: string, wishes: Partial<CaptureRequest> = {}): Promise<string> {
  await capture(disk, await DirectorySink.create(at(name)), wishes);
  return at(name);
}

/** A copy in which something was changed with the tools of the file system. */
function changed(name: string, commands: readonly (readonly [keyof typeof parts, string])[]): string {
  const path = at(`${name}.img`);
  execFileSync('cp', ['--sparse=never', source, path]);
  for (const [part, command] of commands) tool('debugfs', ['-w', '-R', command, `${path}?offset=${parts[part].offset}`]);
  return path;
}

async function diff(old: string, now: string): Promise<ArchiveDiff> {
  const [a, b] = [await openArchive(at(old)), await openArchive(at(now))];
  try {
    return await diffArchives(a, b);
  } finally {
    await Promise.all([a.close(), b.close()]);
  }
}

const results = ({ parts: found }: ArchiveDiff) =>
  Object.fromEntries(found.map(({ number, what }) => [number ?? 'outside', what]));
const equal = { 1: 'equal', 2: 'equal', 3: 'equal', 4: 'equal' };

test('archives of one disk hold the same, whatever their segments are', async () => {
  const same = await diff('old', 'old');
  assert.is(same.equal, true);
  assert.equal(results(same), equal);
  assert.equal([same.read, same.fetch.segments, same.fetch.bytes], [0, 0, 0], 'the digests told');
  assert.ok(same.fetch.ofSegments > 10 && same.fetch.ofBytes > MiB);
  for (const [a, b] of [
    ['old', 'old-8'],
    ['old-8', 'old'],
  ] as const) {
    const other = await diff(a, b);
    assert.is(other.equal, true, JSON.stringify(other, undefined, 1));
    assert.equal(results(other), equal);
    assert.ok(other.read > 0);
    assert.is(other.fetch.segments, 0);
  }
});

test('only the part that was changed differs, also where several parts share a segment', async () => {
  writeFileSync(at('news'), 'what happened since\n');
  const disk = changed('news', [['app', `write ${at('news')} news`]]);
  await captured('news-1', disk);
  const found = await diff('old', 'news-1');
  assert.is(found.equal, false);
  assert.equal(results(found), { ...equal, 4: 'differs' });
  const app = found.parts.find(({ number }) => number === 4);
  assert.ok(app !== undefined && app.changed > 0 && app.changed < app.data && app.segments < 8);
  assert.is(app?.segments, found.fetch.segments, 'parts begin where segments do');
  assert.is(found.read, 0);
  await captured('news-8', disk, { segmentSize: 8 * MiB });
  const shared = await diff('old-8', 'news-8');
  assert.equal(results(shared), { ...equal, 4: 'differs' });
  assert.ok(shared.read > 0, 'the segment in which root, swap and app meet was compared');
  assert.equal(results(await diff('old', 'news-8')), { ...equal, 4: 'differs' });
  assert.equal(results(await diff('old-8', 'news-1')), { ...equal, 4: 'differs' });
});

test('what was deleted is free, and comes back from the other side', async () => {
  await captured('deleted', changed('deleted', [['app', 'rm /db/large']]));
  const there = await diff('old', 'deleted');
  assert.equal(results(there), { ...equal, 4: 'differs' });
  assert.ok((there.parts[3]?.freed ?? 0) >= 4 * MiB, JSON.stringify(there.parts[3]));
  const back = await diff('deleted', 'old');
  assert.ok((back.parts[3]?.changed ?? 0) >= 4 * MiB);
  assert.is(back.parts[3]?.freed, 0);
});

test('zeros are the same, written or left out', async () => {
  await captured('sparse', at('sparse.img'));
  for (const [a, b] of [
    ['sparse', 'old'],
    ['old', 'sparse'],
  ] as const) {
    const found = await diff(a, b);
    assert.is(found.equal, true, JSON.stringify(found, undefined, 1));
  }
  const zeros = changed('zeros', []);
  writeInto(zeros, Buffer.alloc(4096, 1), parts.swap.offset + 64 * 1024);
  await captured('every-byte', zeros, { exact: true });
  const swap = (await diff('sparse', 'every-byte')).parts.find(({ number }) => number === 3);
  assert.is(swap?.what, 'differs');
});

test('another host name is told, and so is another boot code', async () => {
  writeFileSync(at('hostname'), 'source-02\n');
  const disk = changed('renamed', [
    ['root', 'rm /etc/hostname'],
    ['root', `write ${at('hostname')} etc/hostname`],
  ]);
  writeInto(disk, Buffer.from('other boot code'), 0);
  writeInto(disk, Buffer.alloc(8192, 'loader'), 64 * 1024);
  await captured('renamed', disk);
  const found = await diff('old', 'renamed');
  assert.equal(
    found.facts.filter(({ what }) => what === 'host'),
    [{ what: 'host', old: 'source-01', new: 'source-02' }],
  );
  assert.equal(found.facts.map(({ what }) => what).sort(), ['boot code', 'host']);
  assert.equal(results(found), { ...equal, 2: 'differs', outside: 'differs' }, 'a loader stands before the first part');
});

test('a part that has moved is compared with what it was', async () => {
  const [large, moved] = [at('large.img'), at('moved.img')];
  await makeSmallDisk(large, { size: 120 * MiB });
  execFileSync('cp', ['--sparse=always', large, moved]);
  const place = 95 * MiB;
  copyPart(large, parts.app, at('app'));
  tool('dd', [`if=${at('app')}`, `of=${moved}`, 'bs=1M', `seek=${place / MiB}`, 'conv=notrunc', 'status=none']);
  tool(
    'sfdisk',
    ['--quiet', '--no-reread', '--no-tell-kernel', '-N', '4', moved],
    `start=${place / 512}, size=${parts.app.length / 512}\n`,
  );
  await captured('large', large);
  await captured('moved', moved, { segmentSize: 4 * MiB });
  for (const [a, b] of [
    ['large', 'moved'],
    ['moved', 'large'],
  ] as const) {
    const found = await diff(a, b);
    assert.equal(results(found), equal);
    assert.equal(
      found.facts.map(({ what }) => what),
      ['part 4: offset'],
    );
    assert.is(found.equal, false);
    assert.ok(found.fetch.segments > 0);
  }
});

test('parts that only one of them has are told', async () => {
  await captured('application', source, { kinds: { only: ['application'] } });
  assert.equal(results(await diff('old', 'application')), {
    1: 'only in old',
    2: 'only in old',
    3: 'only in old',
    4: 'equal',
  });
  assert.is((await diff('application', 'old')).parts.find(({ number }) => number === 2)?.what, 'only in new');
});

test.run();
