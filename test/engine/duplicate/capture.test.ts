/** Disks that go into an archive, and machines that come out of it. */
import { execFileSync } from 'node:child_process';
import { createReadStream, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { inspectImage } from '../../../src/engine/duplicate/inspect.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { verifyClone } from '../../../src/engine/duplicate/verify.ts';
import type { OnEvent } from '../../../src/engine/events.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { capture } from './captures.ts';
import { bytesOf, checkFileSystem, checkGpt, filesOf, fingerprint, hashOf, loopsOn, tableOf, textOf } from './disk-facts.ts';
import { restorePipe } from './pipes.ts';
import { clone, giveProfile, refusal, requestOf, targetWithProfile } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, profileFile, smallSize, tool, writeInto } from './small-disk.ts';

const folder = tempDir('capture');
const source = join(folder, 'source.img');
const regionRange = { offset: 32_768, length: 1_015_808 };
const at = (name: string): string => join(folder, name);

test.before(() => makeSmallDisk(source));

function blank(name: string): string {
  newFile(at(name), smallSize);
  return at(name);
}

test('what comes out of an archive is what a clone of the disk would be', async () => {
  const before = fingerprint(source);
  const { plan, result } = await capture(source, await DirectorySink.create(at('golden')));
  assert.is(fingerprint(source), before, 'the source was not written');
  assert.is(plan.sourceSystem?.hostname, 'source-01');
  assert.equal(
    plan.parts.map(({ fate }) => fate),
    ['captured', 'captured', 'captured', 'captured'],
  );
  assert.ok(result.bytes < result.data / 2);
  const [restored, cloned] = [blank('restored.img'), blank('cloned.img')];
  const { result: copied } = await clone(at('golden'), restored, { as: 'none' });
  await clone(source, cloned, { as: 'none' });
  assert.is(copied.verified, 'direct');
  assert.is(tableOf(restored), tableOf(source));
  checkGpt(restored);
  for (const name of ['root', 'app'] as const) {
    checkFileSystem(restored, parts[name], 'ext4');
    assert.equal([...filesOf(restored, parts[name])], [...filesOf(source, parts[name])], name);
  }
  assert.is(hashOf(restored, { offset: 0, length: smallSize }), hashOf(cloned, { offset: 0, length: smallSize }));
});

test('a machine that is restored is who its profile says, and its region is as it was', async () => {
  const target = await targetWithProfile(folder);
  const before = hashOf(target, regionRange);
  const { plan, result } = await clone(at('golden'), target);
  assert.is(plan.sourceSystem?.hostname, 'source-01');
  assert.is(hashOf(target, regionRange), before);
  assert.ok(result.filesChanged > 5);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  checkGpt(target);
  for (const name of ['root', 'app'] as const) checkFileSystem(target, parts[name], 'ext4');
  const outcome = await verifyClone({
    source: at('golden'),
    target,
    as: 'target',
    profiles: [],
    kinds: {},
    kindOverrides: new Map(),
    exact: false,
  });
  assert.is(outcome.equal, true, JSON.stringify(outcome, undefined, 1));
  assert.equal(loopsOn(target), []);
});

test('a tar file does as well, and has the same digest', async () => {
  const { result } = await capture(source, await TarSink.toFile(at('golden.tar')));
  const again = await capture(source, await DirectorySink.create(at('golden-again')));
  assert.is(result.digest, again.result.digest);
  const target = blank('from-tar.img');
  await clone(at('golden.tar'), target, { as: 'none' });
  assert.equal([...filesOf(target, parts.root)], [...filesOf(source, parts.root)]);
});

test('a profile on the source is not in the archive', async () => {
  const carrying = at('carrying.img');
  copyDisk(source, carrying);
  const region = await giveProfile(carrying, profileFile(folder));
  const { plan } = await capture(carrying, await DirectorySink.create(at('without-profile')));
  assert.equal(
    plan.parts.filter(({ fate }) => fate === 'protected').map(({ kind }) => kind),
    ['profile'],
  );
  assert.not(plan.layout.images[0]?.data.touches(region));
  const target = blank('without-profile.img');
  await clone(at('without-profile'), target, { as: 'none' });
  assert.ok(bytesOf(target, region).every((byte) => byte === 0));
  const error = await refusal(() => planClone(requestOf(at('without-profile'), target, { as: 'source' })));
  assert.is(error.code, 'SOURCE_WITHOUT_PROFILE');
});

test('parts of one kind are captured, and restored beside what the target has', async () => {
  const { plan } = await capture(source, await DirectorySink.create(at('application')), { kinds: { only: ['application'] } });
  assert.equal(
    plan.parts.map(({ fate }) => fate),
    ['left out', 'left out', 'left out', 'captured'],
  );
  const target = at('other-application.img');
  copyDisk(source, target);
  writeInto(target, Buffer.alloc(parts.app.length, 7), parts.app.offset);
  const root = hashOf(target, parts.root);
  await clone(at('application'), target, { as: 'none' });
  assert.is(hashOf(target, parts.root), root);
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
});

test('--delta of what is there already writes nothing but the tables', async () => {
  const target = blank('delta.img');
  const first = await clone(at('golden'), target, { as: 'none' });
  const { result } = await clone(at('golden'), target, { as: 'none', delta: true });
  assert.is(result.written, 0);
  assert.ok(result.same >= first.result.written);
});

test('--delta fetches no segment whose data the target has, and of the others only what differs is written', async () => {
  const target = blank('delta-few.img');
  await clone(at('golden'), target, { as: 'none' });
  const { plan } = await capture(source, await DirectorySink.create(at('few-layout')));
  const place = [...(plan.layout.images[0] as (typeof plan.layout.images)[number]).data.within(parts.app)].at(-1)
    ?.offset as number;
  writeInto(target, Buffer.alloc(4096, 1), place);
  const few = at('few');
  execFileSync('cp', ['-r', at('golden'), few]);
  // All segments but the one of that cell are gone.
  const { layers } = manifestOf(few);
  const cell = Math.floor(place / MiB) * MiB;
  for (const { digest, annotations } of layers.slice(1))
    if (Number(annotations['vnd.doppel.offset']) !== cell) rmSync(join(few, 'blobs', digest.replace(':', '/')), { force: true });
  const { result } = await clone(few, target, { as: 'none', delta: true });
  assert.is(result.written + result.zeroed, 4096);
  assert.ok(bytesOf(target, { offset: place, length: 4096 }).equals(bytesOf(source, { offset: place, length: 4096 })));
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
});

interface Layer {
  readonly digest: string;
  readonly annotations: Readonly<Record<string, string>>;
}

function manifestOf(archive: string): { readonly layers: readonly Layer[] } {
  const { manifests } = JSON.parse(readFileSync(join(archive, 'index.json'), 'utf8'));
  return JSON.parse(readFileSync(join(archive, 'blobs', manifests[0].digest.replace(':', '/')), 'utf8'));
}

test('a damaged archive is noticed before the commit, and the target does not boot', async () => {
  const bad = at('damaged');
  execFileSync('cp', ['-r', at('golden'), bad]);
  const target = await targetWithProfile(folder, 'not-committed.img');
  const before = hashOf(target, regionRange);
  const blobs = join(bad, 'blobs/sha256');
  const largest = readdirSync(blobs).sort((a, b) => statSync(join(blobs, b)).size - statSync(join(blobs, a)).size)[0] as string;
  const bytes = readFileSync(join(blobs, largest));
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
  writeFileSync(join(blobs, largest), bytes);
  const plan = await planClone(requestOf(bad, target, { as: 'none' }));
  const error = await refusal(() => executeClone(plan));
  assert.is(error.code, 'ARCHIVE_CORRUPT');
  assert.is(error.exitCode, 6);
  assert.match(error.message, largest);
  assert.match(tableOf(target), 'doppel-incomplete');
  assert.is(hashOf(target, regionRange), before);
  // The same command, when the archive is whole again, finishes it.
  rmSync(bad, { recursive: true });
  execFileSync('cp', ['-r', at('golden'), bad]);
  await clone(bad, target, { as: 'none' });
  assert.equal([...filesOf(target, parts.root)], [...filesOf(source, parts.root)]);
});

test('an archive that is another one when the run begins is refused', async () => {
  const moving = at('moving');
  execFileSync('cp', ['-r', at('golden'), moving]);
  const target = blank('moving.img');
  const plan = await planClone(requestOf(moving, target, { as: 'none' }));
  rmSync(moving, { recursive: true });
  execFileSync('cp', ['-r', at('application'), moving]);
  const error = await refusal(() => executeClone(plan));
  assert.is(error.code, 'PLAN_OUTDATED');
});

test('a source that changes while it is captured gives no archive', async () => {
  const changing = at('changing.img');
  copyDisk(source, changing);
  const error = await refusal(async () =>
    capture(
      changing,
      await TarSink.toFile(at('changing.tar')),
      {},
      {
        onEvent: (event) => {
          if (event.type === 'progress') writeInto(changing, Buffer.from('x'), parts.app.offset + MiB);
        },
      },
    ),
  );
  assert.is(error.code, 'SOURCE_CHANGED');
  assert.equal(
    readdirSync(folder).filter((name) => name.startsWith('changing.tar')),
    [],
  );
});

test('a device that is written to while it is captured gives no archive', async () => {
  const changing = at('written.img');
  copyDisk(source, changing);
  const loop = attachLoop(changing);
  try {
    const onEvent: OnEvent = (event) => {
      if (event.type !== 'progress') return;
      writeInto(loop.device, Buffer.alloc(4096, 7), parts.app.offset + MiB);
      execFileSync('blockdev', ['--flushbufs', loop.device]);
    };
    const error = await refusal(async () => capture(loop.device, await TarSink.toFile(at('written.tar')), {}, { onEvent }));
    assert.is(error.code, 'SOURCE_CHANGED');
  } finally {
    loop.detach();
  }
});

test('what could not be read is remembered: whoever restores it is told, and so is who captures the archive again', async () => {
  const bad = { offset: parts.app.offset + 64 * 1024, length: 1024 };
  const map = at('lost.map');
  writeFileSync(
    map,
    `0x0 ? 1\n0 ${bad.offset} +\n${bad.offset} ${bad.length} -\n${bad.offset + bad.length} ${smallSize - bad.offset - bad.length} +\n`,
  );
  const wishes = { readErrors: 'zero', sourceMap: map, exact: true } as const;
  const { result } = await capture(source, await TarSink.toFile(at('lost.tar')), wishes);
  assert.equal(result.unreadable, [bad]);
  const again = await capture(at('lost.tar'), await DirectorySink.create(at('lost-again')));
  assert.equal(again.result.unreadable, [bad]);
  for (const archive of [at('lost.tar'), at('lost-again')]) {
    const { plan, result: restored } = await clone(archive, blank('lost.img'), { as: 'none' });
    assert.match(plan.warnings.join(' '), '1024 bytes of what is copied could not be read when the archive was captured');
    assert.equal(restored.unreadable.ranges, [bad]);
    assert.match((await inspectImage(archive)).notes.join(' '), '1024 bytes could not be read');
  }
  const target = blank('lost-piped.img');
  const { results } = await restorePipe(createReadStream(at('lost.tar')), [target], { as: 'none' });
  assert.equal(results[0]?.unreadable.ranges, [bad]);
});

test('a disk without a table is captured and restored whole', async () => {
  const bare = at('bare.img');
  newFile(bare, 32 * MiB);
  tool('mkfs.ext4', ['-q', bare]);
  await capture(bare, await DirectorySink.create(at('bare')));
  const target = at('bare-restored.img');
  newFile(target, 32 * MiB);
  await clone(at('bare'), target, { as: 'none' });
  tool('e2fsck', ['-f', '-n', target]);
  assert.equal([...filesOf(target, { offset: 0, length: 32 * MiB })], [...filesOf(bare, { offset: 0, length: 32 * MiB })]);
});

test.run();
