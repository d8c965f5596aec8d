/** One part of an archive as a source, and as an image of its own. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { openArchiveOrPart } from '../../../src/engine/archive/open.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { extractImage } from '../../../src/engine/duplicate/extract.ts';
import { inspectImage } from '../../../src/engine/duplicate/inspect.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { verifyClone } from '../../../src/engine/duplicate/verify.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { capture } from './captures.ts';
import { allocated, filesOf, hashOf, loopsOn, tableOf } from './disk-facts.ts';
import { clone, refusal, requestOf } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, tool, writeInto } from './small-disk.ts';

const folder = tempDir('archived-part');
const at = (name: string): string => join(folder, name);
const source = at('source.img');
const golden = at('golden.tar');
const whole = { offset: 0, length: parts.app.length };

test.before(async () => {
  await makeSmallDisk(source);
  // Segments in which several parts meet.
  await capture(source, await TarSink.toFile(golden), { segmentSize: 8 * MiB });
  await capture(source, await DirectorySink.create(at('exact')), { exact: true });
});

function blank(name: string, size: number): string {
  newFile(at(name), size);
  return at(name);
}

test('a part of an archive gives what that part of the disk gives', async () => {
  const expected = blank('of-disk.img', parts.app.length);
  await clone(`${source}#4`, expected, { as: 'none' });
  const { uuid } = (await inspectImage(`${source}#4`)).disk.parts[0]?.fs ?? { uuid: '' };
  for (const [name, part] of [
    ['number', '4'],
    ['label', 'label=app'],
    ['uuid', `uuid=${uuid}`],
    ['partuuid', 'partuuid=5eed0000-0002-4000-8000-000000000004'],
  ] as const) {
    const target = blank(`by-${name}.img`, parts.app.length);
    const { plan } = await clone(`${golden}#${part}`, target, { as: 'none' });
    assert.is(plan.source.path, `${golden}#${part}`);
    assert.is(hashOf(target), hashOf(expected), name);
  }
  tool('e2fsck', ['-fn', at('by-number.img')]);
  assert.equal([...filesOf(at('by-number.img'), whole)], [...filesOf(source, parts.app)]);
});

test('it goes into a part of a disk, and only what differs is written with --delta', async () => {
  const disk = at('disk.img');
  copyDisk(source, disk);
  const archive = await openArchiveOrPart(golden);
  await archive.close();
  const place = [...(archive.layout.images[0]?.data.within(parts.app) ?? [])].at(-1)?.offset as number;
  writeInto(disk, Buffer.alloc(4096, 1), place);
  const [root, table] = [hashOf(disk, parts.root), tableOf(disk)];
  const { plan, result } = await clone(`${golden}#4`, `${disk}#4`, { as: 'none', delta: true });
  assert.equal(
    plan.parts.map(({ fate }) => fate),
    ['copied'],
  );
  assert.is(result.written + result.zeroed, 4096);
  assert.is(hashOf(disk, parts.app), hashOf(source, parts.app));
  assert.equal([hashOf(disk, parts.root), tableOf(disk)], [root, table]);
  const wishes = { profiles: [], kinds: {}, kindOverrides: new Map(), exact: false, as: 'none' } as const;
  assert.is((await verifyClone({ ...wishes, source: `${golden}#4`, target: `${disk}#4` })).equal, true);
  writeInto(disk, Buffer.alloc(4096, 1), place);
  assert.is((await verifyClone({ ...wishes, source: `${golden}#4`, target: `${disk}#4` })).equal, false);
});

test('whose system it is shows with the part that has it', async () => {
  const root = await inspectImage(`${golden}#label=root`);
  assert.is(root.disk.system?.hostname, 'source-01');
  assert.is(root.image.size, parts.root.length);
  assert.match(root.archive?.digest ?? '', /^sha256:/);
  const app = await inspectImage(`${golden}#4`);
  assert.is(app.disk.system, undefined);
  assert.equal(
    app.parts.map(({ fs, kind, number }) => [number, kind, fs?.type, fs?.label]),
    [[0, 'os', 'ext4', 'app']],
  );
});

test('a part can be captured from an archive', async () => {
  await capture(`${golden}#4`, await DirectorySink.create(at('app')));
  const target = blank('from-app.img', parts.app.length);
  await clone(at('app'), target, { as: 'none' });
  assert.is(hashOf(target), hashOf(at('by-number.img')));
  const error = await refusal(() => planClone(requestOf(`${at('app')}#1`, target, { as: 'none' })));
  assert.is(error.code, 'NO_SUCH_PART');
});

test('logical partitions and disks with an MBR have parts, too', async () => {
  const disk = at('mbr.img');
  await makeSmallDisk(disk, { table: 'mbr' });
  await capture(disk, await DirectorySink.create(at('mbr')));
  const target = blank('from-mbr.img', parts.app.length);
  await clone(`${at('mbr')}#4`, target, { as: 'none' });
  assert.equal([...filesOf(target, whole)], [...filesOf(disk, parts.app)]);
});

test('what is no part of it is refused, and what there is is told', async () => {
  const target = blank('none.img', parts.app.length);
  for (const part of ['7', 'label=nothing', 'root']) {
    const error = await refusal(() => planClone(requestOf(`${golden}#${part}`, target, { as: 'none' })));
    assert.is(error.code, 'NO_SUCH_PART');
  }
  await capture(source, await DirectorySink.create(at('application')), { kinds: { only: ['application'] } });
  const error = await refusal(() => planClone(requestOf(`${at('application')}#2`, target, { as: 'none' })));
  assert.is(error.code, 'NO_SUCH_PART');
  assert.match(error.todo, 'partition 4 ("app")');
});

async function extract(name: string, file: string) {
  return extractImage(await openArchiveOrPart(name), file);
}

test('an archive of every byte gives the very disk', async () => {
  const result = await extract(at('exact'), at('extracted.img'));
  assert.is(hashOf(at('extracted.img')), hashOf(source));
  assert.is(result.verified, 'direct');
  assert.ok(allocated(at('extracted.img')) <= allocated(source) + MiB, 'holes stay holes');
});

test('a part is extracted in the format that the name says', async () => {
  await extract(`${golden}#4`, at('app.qcow2'));
  tool('qemu-img', ['check', at('app.qcow2')]);
  tool('qemu-img', ['convert', '-O', 'raw', at('app.qcow2'), at('app-raw.img')]);
  assert.is(hashOf(at('app-raw.img')), hashOf(at('by-number.img')));
});

test('nothing is replaced, and nothing stays of what is damaged', async () => {
  writeFileSync(at('there.img'), 'mine');
  const error = await refusal(() => extract(golden, at('there.img')));
  assert.is(error.code, 'IMAGE_EXISTS');
  assert.is(readFileSync(at('there.img'), 'utf8'), 'mine');
  const bad = at('bad');
  execFileSync('cp', ['-r', at('exact'), bad]);
  const largest = execFileSync('sh', ['-c', `ls -S ${bad}/blobs/sha256 | head -n 1`], { encoding: 'utf8' }).trim();
  const bytes = readFileSync(join(bad, 'blobs/sha256', largest));
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
  writeFileSync(join(bad, 'blobs/sha256', largest), bytes);
  const before = readdirSync(folder);
  const damage = await refusal(() => extract(bad, at('bad.img')));
  assert.is(damage.code, 'ARCHIVE_CORRUPT');
  assert.not(existsSync(at('bad.img')));
  assert.equal(readdirSync(folder), before);
  assert.equal(loopsOn(folder), []);
});

test.run();
