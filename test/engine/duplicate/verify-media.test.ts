/** Comparing what is no plain disk: parts of disks, qcow2, NBD servers, failing sources, several targets; and what stale bytes give away. */
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClones } from '../../../src/engine/duplicate/execute.ts';
import { planClones } from '../../../src/engine/duplicate/make-plan.ts';
import { bytesOf } from './disk-facts.ts';
import { badSectors, serve } from './faulty.ts';
import { clone, refusal, requestOf, targetWithProfile } from './requests.ts';
import { copyDisk, copyPart, MiB, parts, profileFile, smallSize, tool, writeInto } from './small-disk.ts';
import { assertEqual, compareSmallDisks, differing, flipByte, part, verified } from './verified.ts';

const test = suite('verify, media');
const { folder, source, at, blank } = compareSmallDisks(test, 'verify-media');

/** Where a block of a file of the application part lies on the disk, as debugfs says. */
function blockOf(path: string, index: number): number {
  const blocks = tool('debugfs', ['-R', `blocks ${path}`, `${source}?offset=${parts.app.offset}`]);
  return parts.app.offset + Number(blocks.trim().split(/\s+/)[index]) * 4096;
}

test('a part of a disk, onto a part of another', async () => {
  const target = at('parts.img');
  copyDisk(source, target);
  writeInto(target, Buffer.alloc(3 * MiB, 'something else '), parts.app.offset);
  const [from, to] = [`${source}#label=app`, `${target}#4`];
  await clone(from, to, { as: 'none' });
  assertEqual(await verified(from, to, { as: 'none' }));
  const before = await verified(source, target, { as: 'none' });
  assertEqual(before);
  flipByte(target, blockOf('/db/large', 3) + 17);
  const result = await verified(from, to, { as: 'none' });
  assert.equal(differing(result), [0]);
  assert.is(part(result, 0).difference?.offsetInPart, blockOf('/db/large', 3) + 17 - parts.app.offset);
});

test('an NBD server, onto a qcow2 disk with a persona', async () => {
  const server = await serve(join(folder, 'socket'), 'file', source);
  const target = at('target.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', target, String(smallSize + 8 * MiB)]);
  await clone(server.uri, target, { as: profileFile(folder) });
  const result = await verified(server.uri, target);
  assertEqual(result);
  assert.is(result.host, 'web-07');
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', `write -q -P 0x55 ${blockOf('/db/large', 5)} 512`, target]);
  assert.equal(differing(await verified(server.uri, target)), [4]);
  await server.stop();
  assert.ok(existsSync(target));
});

test('what a failing source could not give: zeros, or not compared; without the flag an error', async () => {
  const bad = { offset: blockOf('/db/large', 7) + 1024, length: 512 };
  const disk = await badSectors(source, [bad]);
  for (const readErrors of ['zero', 'skip'] as const) {
    const target = blank(`bad-${readErrors}.img`);
    await clone(disk.uri, target, { as: 'none', readErrors });
    const result = await verified(disk.uri, target, { as: 'none', readErrors });
    assertEqual(result);
    assert.is(result.unreadable, 512);
    assert.match(result.notes.join('\n'), '512 bytes of the source cannot be read');
    flipByte(target, bad.offset + 5);
    const spoilt = await verified(disk.uri, target, { as: 'none', readErrors });
    if (readErrors === 'zero') assert.equal(differing(spoilt), [4]);
    else assertEqual(spoilt);
    flipByte(target, bad.offset + 600);
    assert.equal(differing(await verified(disk.uri, target, { as: 'none', readErrors })), [4]);
    const failed = await verified(disk.uri, target, { as: 'none' }).catch((error: { code: string }) => error.code);
    assert.is(failed, 'SOURCE_UNREADABLE');
  }
  await disk.stop();
});

test('several targets of one clone, each compared with what it shall be', async () => {
  const known = await targetWithProfile(folder, 'known.img');
  const other = blank('other.img', smallSize + 8 * MiB);
  const profile = profileFile(folder, (text) => text.replace(/^host: .*$/m, 'host: web-02'), 'web-02.yaml');
  const targets = [requestOf(source, known), requestOf(source, other, { as: profile })];
  await executeClones(await planClones(requestOf(source, known), targets));
  for (const [target, host] of [
    [known, 'web-07'],
    [other, 'web-02'],
  ] as const) {
    const result = await verified(source, target);
    assertEqual(result);
    assert.is(result.host, host);
  }
});

test('bytes of another file system at the ends of a part are found; those of the source, as a copy byte for byte has them, are not', async () => {
  const target = blank('stale.img');
  const end = parts.app.offset + parts.app.length - 8192;
  assert.ok(bytesOf(source, { offset: end, length: 4096 }).every((byte) => byte === 0));
  await clone(source, target, { as: 'none' });
  assertEqual(await verified(source, target, { as: 'none' }));
  writeInto(target, Buffer.from('a superblock that blkid would find'), end);
  const result = await verified(source, target, { as: 'none' });
  assert.equal(differing(result), [4]);
  assert.equal(part(result, 4).difference?.used, 'free');
  const dirty = at('dirty.img');
  copyDisk(source, dirty);
  writeInto(dirty, Buffer.from('left over'), end);
  const copied = at('copied.img');
  copyDisk(dirty, copied);
  assertEqual(await verified(dirty, copied, { as: 'none' }));
  await clone(dirty, copied, { as: 'none' });
  assertEqual(await verified(dirty, copied, { as: 'none' }));
});

test('a file system without a table', async () => {
  const whole = at('whole.img');
  copyPart(source, parts.app, whole);
  const target = blank('whole-target.img', 30 * MiB);
  await clone(whole, target, { as: 'none' });
  assertEqual(await verified(whole, target, { as: 'none' }));
  flipByte(target, 1024 + 120);
  assert.equal(differing(await verified(whole, target, { as: 'none' })), [0]);
  assert.is((await refusal(() => verified(whole, target, { as: 'none', grow: ['1'] }))).code, 'NO_TABLE');
  const small = blank('whole-small.img', 20 * MiB);
  const result = await verified(whole, small, { as: 'none' });
  assert.not(result.equal);
  assert.match(result.differences[0]?.message ?? '', /needs/);
  rmSync(small);
});

test.run();
