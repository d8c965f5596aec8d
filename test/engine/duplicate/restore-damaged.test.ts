/** Restores of damaged archives: exit 6 with the place, nothing is committed, and the region of the target stays as it was. */
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { blobIn, type ForgedManifest, forgeManifest, type Layer, manifestOf } from '../archive/forged.ts';
import { capture } from './captures.ts';
import { hashOf, tableOf, textOf } from './disk-facts.ts';
import { clone, refusal, targetWithProfile } from './requests.ts';
import { makeSmallDisk, parts } from './small-disk.ts';

const folder = tempDir('restore-damaged');
const source = join(folder, 'source.img');
const golden = join(folder, 'golden');
const goldenTar = join(folder, 'golden.tar');
const regionRange = { offset: 32_768, length: 1_015_808 };
let count = 0;
const fresh = (ending = ''): string => join(folder, `bad-${++count}${ending}`);

test.before(async () => {
  await makeSmallDisk(source);
  await capture(source, await DirectorySink.create(golden));
  await capture(source, await TarSink.toFile(goldenTar));
});

const forged = (change: (manifest: ForgedManifest) => unknown): string =>
  forgeManifest(golden, fresh(), (manifest) => void change(manifest));
const last = ({ layers }: ForgedManifest): Layer => layers.at(-1) as Layer;

function flipped(at: number): string {
  const bytes = readFileSync(goldenTar);
  bytes[at] = (bytes[at] as number) ^ 0x10;
  const path = fresh('.tar');
  writeFileSync(path, bytes);
  return path;
}

/** With the last segment changed behind the back of the manifest. */
function lastSegment(change: (path: string) => void): string {
  const copy = forged(() => {});
  change(blobIn(copy, last(manifestOf(copy)).digest));
  return copy;
}

const cut = (path: string, length: number): void => writeFileSync(path, readFileSync(path).subarray(0, length));

test('whatever is damaged, and wherever, the target is not committed, and the whole archive finishes it', async () => {
  const target = await targetWithProfile(folder);
  const before = hashOf(target, regionRange);
  const { size } = statSync(goldenTar);
  const empty = fresh();
  cpSync(golden, empty, { recursive: true });
  for (const name of readdirSync(join(empty, 'blobs/sha256'))) rmSync(join(empty, 'blobs/sha256', name));
  for (const [what, archive, place] of [
    ['a segment without its last byte', lastSegment((path) => cut(path, statSync(path).size - 1)), 'blobs/sha256/'],
    ['a segment that is gone', lastSegment((path) => rmSync(path)), 'is missing'],
    ['a tar with a flipped bit in the middle', flipped(size >> 1), 'damaged'],
    ['a tar with a flipped bit at the front', flipped(520), 'damaged'],
    ['no blobs', empty, 'is missing'],
    [
      'the content of another cell',
      forged(({ layers }) => {
        const [one, other] = [layers.at(-2) as Layer, layers.at(-1) as Layer];
        Object.assign(other, { digest: one.digest, size: one.size });
      }),
      'blobs/sha256/',
    ],
    ['segments in another order', forged(({ layers }) => layers.push(...layers.splice(1, 1))), 'its segment 1'],
  ] as const) {
    const table = tableOf(target);
    const error = await refusal(() => clone(archive, target));
    assert.is(error.exitCode, 6, `${what}: ${error.stack}`);
    assert.match(error.message, place, what);
    assert.ok(tableOf(target) === table || tableOf(target).includes('doppel-incomplete'), what);
    assert.is(hashOf(target, regionRange), before, what);
    rmSync(archive, { recursive: true });
  }
  assert.match(tableOf(target), 'doppel-incomplete');
  await clone(golden, target);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.is(hashOf(target, regionRange), before);
});

test.run();
