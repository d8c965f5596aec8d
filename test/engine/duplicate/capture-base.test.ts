/** Captures that take what has not changed from an earlier archive. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { openArchive } from '../../../src/engine/archive/open.ts';
import type { BlobSink } from '../../../src/engine/archive/store.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { checkWhole } from '../archive/samples.ts';
import { capture } from './captures.ts';
import { filesOf, hashOf } from './disk-facts.ts';
import { clone } from './requests.ts';
import { makeSmallDisk, newFile, parts, smallSize, tool } from './small-disk.ts';

const folder = tempDir('capture-base');
const at = (name: string): string => join(folder, name);
const source = at('source.img');
const later = at('later.img');
const blobs = 'blobs/sha256';

test.before(async () => {
  await makeSmallDisk(source);
  await capture(source, await DirectorySink.create(at('may')));
  await capture(source, await TarSink.toFile(at('may.tar')));
  execFileSync('cp', ['--sparse=never', source, later]);
  writeFileSync(at('news'), 'what happened since\n');
  tool('debugfs', ['-w', '-R', `write ${at('news')} news`, `${later}?offset=${parts.app.offset}`]);
});

/** Of the changed disk, hard to compress, so that what is compressed anew is something else. */
async function captureLater(sink: BlobSink, base: string) {
  const open = await openArchive(base);
  const events: EngineEvent[] = [];
  try {
    const onEvent = (event: EngineEvent): void => void events.push(event);
    const { result } = await capture(later, sink, {}, { base: open, level: 12, onEvent });
    const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
    return { result, warnings };
  } finally {
    await open.close();
  }
}

test('what has not changed is the same blob, stored once, and the archive is complete by itself', async () => {
  const may = at('may-away');
  execFileSync('cp', ['-r', at('may'), may]);
  const { result, warnings } = await captureLater(await DirectorySink.create(at('june')), may);
  assert.equal(warnings, []);
  const { segments, reused, bytes } = result;
  assert.ok(reused.segments > 10 && reused.segments < segments, `${reused.segments} of ${segments}`);
  const before = segmentsOf(may).map((path) => path.slice(-64));
  const shared = segmentsOf(at('june')).filter((path) => before.includes(path.slice(-64)));
  assert.ok(shared.length > 5);
  for (const path of shared) assert.is(statSync(path).nlink, 2, 'a hard link');
  const total = readdirSync(join(at('june'), blobs)).reduce((sum, name) => sum + statSync(join(at('june'), blobs, name)).size, 0);
  assert.ok(total <= bytes && bytes - reused.bytes < bytes / 2);
  rmSync(may, { recursive: true });
  await checkWhole(at('june'));
  newFile(at('target.img'), smallSize);
  await clone(at('june'), at('target.img'), { as: 'none' });
  const files = filesOf(at('target.img'), parts.app);
  assert.ok(files.has('/news'));
  assert.equal([...files], [...filesOf(later, parts.app)]);
  assert.is(hashOf(at('target.img'), parts.esp), hashOf(later, parts.esp));
});

test('from a tar, into a tar, and again, it is the same archive', async () => {
  const { result } = await captureLater(await DirectorySink.create(at('june-1')), at('may'));
  for (const [name, base] of [
    ['june-2', at('may.tar')],
    ['june-3.tar', at('may')],
    ['june-4.tar', at('may.tar')],
  ] as const) {
    const sink = name.endsWith('.tar') ? await TarSink.toFile(at(name)) : await DirectorySink.create(at(name));
    const { result: again } = await captureLater(sink, base);
    assert.is(again.digest, result.digest);
    assert.equal(again.reused, result.reused);
    await checkWhole(at(name));
  }
  assert.is(Buffer.compare(readFileSync(at('june-3.tar')), readFileSync(at('june-4.tar'))), 0);
});

test('nothing of a damaged base gets into the archive: it is compressed anew, and that is said once', async () => {
  const { result: right } = await captureLater(await DirectorySink.create(at('right')), at('may'));
  for (const [what, spoil] of [
    ['flipped', (path: string) => flip(path)],
    ['cut off', (path: string) => writeFileSync(path, readFileSync(path).subarray(1))],
    ['missing', (path: string) => rmSync(path)],
  ] as const) {
    const bad = at(`bad-${what}`);
    execFileSync('cp', ['-r', at('may'), bad]);
    for (const path of segmentsOf(bad).slice(0, 6)) spoil(path);
    const { result, warnings } = await captureLater(await DirectorySink.create(at(`from-${what}`)), bad);
    assert.is(warnings.length, 1);
    assert.match(warnings[0] as string, /bad-.*is damaged: .*compressed anew/);
    assert.ok(result.reused.segments < right.reused.segments && result.reused.segments > 0);
    await checkWhole(at(`from-${what}`));
  }
});

test('a segment that holds something else than its base says is not taken, however well it is named', async () => {
  const forged = at('forged');
  execFileSync('cp', ['-r', at('may'), forged]);
  const index = JSON.parse(readFileSync(join(forged, 'index.json'), 'utf8'));
  const manifestPath = join(forged, 'blobs', index.manifests[0].digest.replace(':', '/'));
  const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
  // All whole cells of one size: the frames are right, and of other cells.
  const frames = manifest.layers.slice(1).map(({ digest, size }: { digest: string; size: number }) => ({ digest, size }));
  for (const [number, layer] of manifest.layers.slice(1).entries()) Object.assign(layer, frames[(number + 1) % frames.length]);
  const bytes = Buffer.from(JSON.stringify(manifest));
  const hex = createHash('sha256').update(bytes).digest('hex');
  Object.assign(index.manifests[0], { digest: `sha256:${hex}`, size: bytes.length });
  writeFileSync(join(forged, blobs, hex), bytes);
  writeFileSync(join(forged, 'index.json'), JSON.stringify(index));
  const { result, warnings } = await captureLater(await DirectorySink.create(at('from-forged')), forged);
  assert.is(warnings.length, 1);
  assert.ok(result.reused.segments < 5);
  await checkWhole(at('from-forged'));
});

test('what an interrupted capture has left is replaced', async () => {
  const sink = await DirectorySink.create(at('again'));
  for (const path of segmentsOf(at('may'))) writeFileSync(join(at('again'), blobs, path.slice(-64)), 'half');
  await sink.abort();
  await captureLater(await DirectorySink.create(at('again')), at('may'));
  await checkWhole(at('again'));
  await checkWhole(at('may'));
  renameSync(at('again'), at('again-1'));
  await checkWhole(at('again-1'));
});

/** Paths of the blobs of its segments, in their order. */
function segmentsOf(archive: string): string[] {
  const { manifests } = JSON.parse(readFileSync(join(archive, 'index.json'), 'utf8'));
  const path = (digest: string): string => join(archive, 'blobs', digest.replace(':', '/'));
  const { layers } = JSON.parse(readFileSync(path(manifests[0].digest), 'utf8'));
  return [...new Set<string>(layers.slice(1).map(({ digest }: { digest: string }) => path(digest)))];
}

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
  writeFileSync(path, bytes);
}

test.run();
