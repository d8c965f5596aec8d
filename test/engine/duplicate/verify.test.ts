import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { differenceError } from '../../../src/engine/duplicate/verify.ts';
import { ExitCode, RefusedError } from '../../../src/engine/errors.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { assertEqual, differing, part } from './verified.ts';
import { Disks, digest, flip, placeOf, readBytes, writeBytes } from './verify-disks.ts';

const test = suite('verify');
const disks = await Disks.make();
const twin = await disks.clone('twin.img', 'file');
const plain = await disks.clone('plain.img', 'none');
const data = disks.part('data');

test('a clone with a persona is equal: by files where the persona wrote, by blocks elsewhere, and nothing is written', async () => {
  const before = [digest(disks.source.path), digest(twin)];
  const result = await disks.verify(twin);
  assertEqual(result);
  assert.is(result.host, 'twin-02');
  assert.equal(
    result.parts.map(({ number, method }) => [number, method]),
    [
      [1, 'files'],
      [2, 'files'],
      [3, 'blocks'],
      [4, 'blocks'],
    ],
  );
  assert.ok(part(result, 2).files > 50 && part(result, 4).bytes > 16 << 20);
  assert.is(result.regions.length, 1);
  assert.equal([digest(disks.source.path), digest(twin)], before);
});

test('the profile of the clone may be named; another one differs', async () => {
  assertEqual(await disks.verify(twin, { as: 'file', file: disks.profile }));
  const other = join(disks.folder, 'other.yaml');
  writeFileSync(other, 'apiVersion: doppel/v1\nhost: other-03\nidentity:\n  hostname: other-03\n');
  const result = await disks.verify(twin, { as: 'file', file: other });
  assert.not(result.equal);
  assert.equal(
    result.differences.map(({ what }) => what),
    ['profile'],
  );
});

test('a plain copy is equal by blocks; what the source does not use differs with exact only', async () => {
  const result = await disks.verify(plain, { as: 'none' });
  assertEqual(result);
  assert.ok(result.parts.every(({ method }) => method === 'blocks'));
  const exact = await disks.verify(plain, { as: 'none', exact: true });
  assert.equal(differing(exact), [2, 4]);
  assert.is(part(exact, 2).difference?.used, 'free');
});

test('a clone of every byte is equal with exact', async () => {
  const exact = await disks.clone('exact.img', 'none', { exact: true });
  assertEqual(await disks.verify(exact, { as: 'none', exact: true }));
  flip(exact, data.offset - 4096 + 4096 * 70_000);
  const spoilt = await disks.verify(exact, { as: 'none', exact: true });
  assert.equal(differing(spoilt), [4]);
  rmSync(exact);
});

test('a clone that is a plain copy of a persona differs', async () => {
  assert.equal(differing(await disks.verify(twin, { as: 'none' })), [1, 2]);
});

test('one flipped byte in a used block is found at its place', async () => {
  const target = disks.copy(twin);
  const at = placeOf(target, 'release=1');
  flip(target, at);
  const result = await disks.verify(target);
  assert.equal(differing(result), [4]);
  assert.equal(part(result, 4).difference, { range: { offset: at, length: 1 }, offsetInPart: at - data.offset, used: 'used' });
  const error = differenceError(result);
  assert.is(error.exitCode, ExitCode.differs);
  assert.match(
    error.message,
    `partition 4 ("appdata") differs: 1 byte from byte ${at} on (byte ${at - data.offset} of it, used space)`,
  );
});

test('a flipped byte in free space does not matter', async () => {
  const target = disks.copy(twin);
  const free = data.offset + Math.floor(data.size * 0.8) + 4096;
  assert.not(
    readBytes(disks.source.path, free, 16).every((byte) => byte === 0),
    'the fixture has stale data there',
  );
  writeBytes(target, free, Buffer.from('something'));
  assertEqual(await disks.verify(target));
});

test('a file system whose structures are damaged is still compared', async () => {
  const target = disks.copy(twin);
  flip(target, data.offset + 108);
  const result = await disks.verify(target);
  assert.equal(differing(result), [4]);
  assert.is(part(result, 4).difference?.offsetInPart, 108);
});

test('a disk that may change meanwhile, or is the same, is refused', async () => {
  await rejects(disks.verify(disks.source.path), 'SAME_STORAGE');
  const target = disks.copy(twin);
  const loop = attachLoop(target, { offset: data.offset, size: data.size });
  const mounted = mount(loop.device, 'xfs', 'rw,nouuid');
  try {
    await rejects(disks.verify(target), 'TARGET_IN_USE');
    await rejects(disks.verify(plain, { source: target }), 'SOURCE_IN_USE');
  } finally {
    mounted.unmount();
    loop.detach();
  }
});

test('progress never shrinks and ends at what there is', async () => {
  const seen: number[] = [];
  const { verifyClone } = await import('../../../src/engine/duplicate/verify.ts');
  await verifyClone(
    { source: disks.source.path, target: plain, as: 'none', profiles: [], kinds: {}, exact: false },
    { onEvent: (event) => void (event.type === 'progress' && seen.push(event.done, event.total)) },
  );
  const done = seen.filter((_, index) => index % 2 === 0);
  assert.ok(done.length > 10 && done.every((bytes, index) => index === 0 || bytes >= (done[index - 1] as number)));
  assert.is(done.at(-1), seen.at(-1));
});

async function rejects(promise: Promise<unknown>, code: string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, RefusedError);
  assert.is((error as RefusedError).code, code);
}

test.run();
