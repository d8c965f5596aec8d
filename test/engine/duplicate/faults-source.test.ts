import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, filesOf, hashOf } from './disk-facts.ts';
import { attempt, badSectors, serve } from './faulty.ts';
import { targetWithProfile } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, smallSize, tool } from './small-disk.ts';

const folder = tempDir('faults-source');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);
const regionRange = { offset: 32_768, length: 1_015_808 };

test.before(() => makeSmallDisk(source));

function blank(name: string): string {
  newFile(at(name), smallSize);
  return at(name);
}

/** Where a block of a file lies on the disk, as debugfs says. */
function blockOf(part: { readonly offset: number }, path: string, index = 0): number {
  const blocks = tool('debugfs', ['-R', `blocks ${path}`, `${source}?offset=${part.offset}`])
    .trim()
    .split(/\s+/)
    .map(Number);
  return part.offset + (blocks[index] as number) * 4096;
}

function checkWhole(target: string): void {
  for (const name of ['root', 'app'] as const) assert.equal([...filesOf(target, parts[name])], [...filesOf(source, parts[name])]);
}

test('a sector that a server cannot read ends the clone, or is lost alone; then the same command makes it whole', async () => {
  const bad = { offset: blockOf(parts.app, '/db/large', 7) + 1024, length: 512 };
  const disk = await badSectors(source, [bad]);
  const target = await targetWithProfile(folder, 'sectors.img');
  const region = hashOf(target, regionRange);
  const failed = await attempt(disk.uri, target, { as: 'target' });
  assert.is(failed.state, 'fenced');
  assert.is(failed.error?.exitCode, 7);
  assert.is(failed.error?.code, 'SOURCE_UNREADABLE');
  assert.equal([failed.error?.data.offset, failed.error?.data.length], [bad.offset, 512]);
  assert.is(hashOf(target, regionRange), region);

  const zeroed = await attempt(disk.uri, target, { as: 'target', readErrors: 'zero' });
  assert.is(zeroed.state, 'committed');
  assert.equal(zeroed.result?.unreadable, {
    bytes: 512,
    ranges: [bad],
    parts: [{ number: 4, label: 'partition 4 ("app")', bytes: 512, files: ['/db/large'], elsewhere: 0 }],
  });
  assert.match(zeroed.warnings.join(), '512 bytes of');
  assert.match(zeroed.warnings.join(), 'are zeros on the target: /db/large on partition 4 ("app")');
  assert.ok(bytesOf(target, bad).every((byte) => byte === 0));
  const around = { offset: bad.offset - 1024, length: 1024 };
  assert.equal(bytesOf(target, around), bytesOf(source, around));
  assert.is(hashOf(target, regionRange), region);

  await disk.turn([]);
  const whole = await attempt(disk.uri, target, { as: 'none' });
  assert.is(whole.error, undefined);
  checkWhole(target);
  await disk.stop();
});

test('a server whose every read fails is not made up with zeros, and when it is well again the same command finishes', async () => {
  const trigger = at('failing');
  const errors = ['error-pread=EIO', 'error-pread-rate=1', `error-pread-file=${trigger}`];
  const server = await serve(at('error.socket'), '--filter=error', 'file', source, ...errors);
  const target = blank('all-fail.img');
  const failed = await attempt(server.uri, target, { readErrors: 'zero' }, (event) => {
    if (event.type === 'progress' && event.phase === 'copy' && event.done > MiB) writeFileSync(trigger, '');
  });
  assert.ok(existsSync(trigger));
  assert.is(failed.error?.code, 'SOURCE_GONE');
  assert.is(failed.error?.exitCode, 7);
  assert.is(failed.state, 'fenced');
  rmSync(trigger);
  assert.is((await attempt(server.uri, target, { readErrors: 'zero' })).result?.unreadable.bytes, 0);
  checkWhole(target);
  await server.stop();
});

test('a server that dies in the middle is a lost connection, whatever becomes of read errors', async () => {
  const server = await serve(at('dies.socket'), '--filter=delay', 'file', source, 'delay-read=4ms');
  const target = blank('dies.img');
  const stateDir = { path: at('states'), required: true };
  let gone: Promise<void> | undefined;
  const failed = await attempt(server.uri, target, { readErrors: 'skip', stateDir }, (event) => {
    if (event.type === 'progress' && event.phase === 'copy') gone ??= server.stop('SIGKILL');
  });
  await gone;
  assert.is(failed.error?.exitCode, 9);
  assert.is(failed.error?.code, 'NBD_CONNECTION_LOST');
  assert.is(failed.state, 'fenced');
  await server.restart();
  const { result } = await attempt(server.uri, target, { readErrors: 'skip', stateDir });
  assert.ok((result?.resumed ?? 0) > 0);
  checkWhole(target);
  await server.stop();
});

test('a server of a disk that was cut off is refused before anything is written', async () => {
  const server = await serve(at('short.socket'), '--filter=truncate', 'file', source, 'truncate=60M');
  const target = blank('cut.img');
  const { error, state } = await attempt(server.uri, target, { readErrors: 'zero' });
  assert.is(error?.exitCode, 6);
  assert.is(error?.code, 'TABLE_TRUNCATED');
  assert.is(state, 'untouched');
  assert.is(tool('du', [target]).split('\t')[0], '0');
  await server.stop();
});

test('a slow server takes its time', async () => {
  const server = await serve(at('slow.socket'), '--filter=delay', 'file', source, 'delay-read=3ms', 'delay-extents=20ms');
  const target = blank('slow.img');
  assert.is((await attempt(server.uri, target)).error, undefined);
  checkWhole(target);
  await server.stop();
});

test('a file that is cut off while it is copied is noticed, and not made up with zeros', async () => {
  const shrinking = at('shrinking.img');
  copyDisk(source, shrinking);
  const target = blank('shrunk.img');
  const { error, state } = await attempt(shrinking, target, { readErrors: 'zero' }, (event) => {
    if (event.type === 'phase' && event.phase === 'copy') tool('truncate', ['--size', String(parts.app.offset), shrinking]);
  });
  assert.is(error?.exitCode, 7);
  assert.match(error?.message ?? '', 'the image ended early');
  assert.is(state, 'fenced');
});

test.run();
