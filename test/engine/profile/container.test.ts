import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DoppelError } from '../../../src/engine/errors.ts';
import { geometryOf, maxPayloadBytes, readContainer } from '../../../src/engine/profile/container.ts';
import {
  ContainerChangedError,
  ContainerConflictError,
  ContainerDamagedError,
  ContainerEmptyError,
  ContainerNewerError,
  ContainerNotWrittenError,
  ContainerTruncatedError,
  LastGenerationError,
  PayloadTooLargeError,
  WrongTargetError,
} from '../../../src/engine/profile/container-errors.ts';
import { writeContainer } from '../../../src/engine/profile/container-write.ts';
import { encodeHeader } from '../../../src/engine/profile/header.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { gap, MemoryDisk, otherId, targetId } from './memory-disk.ts';
import { failure } from './support.ts';

const payload = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const slot = [gap.offset, gap.offset + 507_904] as const;

/** With these texts written one after the other. */
async function disk(...texts: string[]): Promise<MemoryDisk> {
  const made = new MemoryDisk(2_097_152);
  for (const text of texts) await writeContainer(made, gap, payload(text), { targetId });
  return made;
}

test('the layout on disk is the documented one', async () => {
  const made = await disk('hello');
  const header = Buffer.from(made.bytes.subarray(slot[0], slot[0] + 512));
  const digest = createHash('sha256').update('hello').digest('hex');
  assert.is(header.subarray(0, 8).toString('hex'), '444f504c8f0d0a1a');
  assert.is(header.readUInt16LE(8), 1, 'version');
  assert.is(header.readUInt16LE(10), 512, 'header length');
  assert.is(header.readUInt32LE(12), 0, 'flags');
  assert.is(header.readBigUInt64LE(16), 1n, 'generation');
  assert.is(header.readBigUInt64LE(24), 5n, 'payload length');
  assert.is(header.readUInt16LE(32), 1, 'codec');
  assert.is(header.readUInt32LE(36), 4096, 'alignment');
  assert.is(header.subarray(40, 56).toString('hex'), targetId.replaceAll('-', ''));
  assert.is(header.subarray(56, 88).toString('hex'), digest);
  assert.ok(
    header.subarray(88, 508).every((byte) => byte === 0),
    'key id, signature and reserved bytes',
  );
  assert.is(header.readUInt32LE(508), crc32(header.subarray(0, 508)));
  assert.is(textOf(made.bytes.subarray(slot[0] + 4096, slot[0] + 4101)), 'hello');
});

test('a write goes to the older slot: payload, flush, header, flush', async () => {
  const made = await disk('one');
  made.log.length = 0;
  assert.equal(await writeContainer(made, gap, payload('two'), { targetId }), { generation: 2, slot: 1 });
  assert.equal(made.log, [`write ${slot[1] + 4096} 4096`, 'flush', `write ${slot[1]} 4096`, 'flush']);
  assert.equal(await writeContainer(made, gap, payload('three'), { targetId }), { generation: 3, slot: 0 });
  const read = await readContainer(made, gap, { targetId });
  assert.equal({ ...read, payload: textOf(read.payload) }, { generation: 3, payload: 'three', targetId, slot: 0, problems: [] });
});

test('nothing outside of the region is written', async () => {
  const made = new MemoryDisk(2_097_152).bytes.fill(0xaa);
  const whole = new MemoryDisk(made.length);
  whole.bytes.set(made);
  for (const text of ['a', 'b', 'c']) await writeContainer(whole, gap, payload(text), { targetId });
  assert.ok(whole.bytes.subarray(0, gap.offset).every((byte) => byte === 0xaa));
  assert.ok(whole.bytes.subarray(gap.offset + gap.length).every((byte) => byte === 0xaa));
});

test('an empty region, zeros or what a disk held before, is empty', async () => {
  const made = new MemoryDisk(2_097_152);
  await failure(ContainerEmptyError, () => readContainer(made, gap));
  made.bytes.fill(0x5a);
  await failure(ContainerEmptyError, () => readContainer(made, gap));
  await writeContainer(made, gap, payload('first'), { targetId });
  assert.equal((await readContainer(made, gap)).problems, [], 'the other slot was made blank');
});

test('one damaged slot is survived and reported', async () => {
  const made = await disk('old', 'new');
  made.bytes[slot[1] + 4096] ^= 1;
  const read = await readContainer(made, gap);
  assert.is(textOf(read.payload), 'old');
  assert.equal(
    read.problems.map((p) => [p.slot, p.kind]),
    [[1, 'bad hash']],
  );
  assert.is((await writeContainer(made, gap, payload('newer'), { targetId })).slot, 1, 'the bad slot is written');
});

test('a flip of any bit of a header is noticed', async () => {
  const made = await disk('one', 'two');
  for (let bit = 0; bit < 512 * 8; bit++) {
    const at = slot[1] + (bit >> 3);
    const mask = 1 << (bit & 7);
    made.bytes[at] = (made.bytes[at] as number) ^ mask;
    const read = await readContainer(made, gap);
    assert.is(textOf(read.payload), 'one', `bit ${bit}`);
    assert.is(read.problems.length, 1, `bit ${bit}`);
    made.bytes[at] = (made.bytes[at] as number) ^ mask;
  }
});

test('a flip of any bit of the only header is damage, not an empty region', async () => {
  const made = await disk('one');
  for (let bit = 0; bit < 512 * 8; bit++) {
    const at = slot[0] + (bit >> 3);
    const mask = 1 << (bit & 7);
    made.bytes[at] = (made.bytes[at] as number) ^ mask;
    await failure(ContainerDamagedError, () => readContainer(made, gap));
    made.bytes[at] = (made.bytes[at] as number) ^ mask;
  }
});

/** Sets a field of a slot's header and makes the CRC right again. */
function patch(made: MemoryDisk, at: number, change: (header: Buffer) => void): void {
  const header = Buffer.from(made.bytes.buffer, made.bytes.byteOffset + at, 512);
  change(header);
  header.writeUInt32LE(crc32(header.subarray(0, 508)), 508);
}

const newer: [string, (header: Buffer) => void][] = [
  ['version', (h) => h.writeUInt16LE(2, 8)],
  ['flags', (h) => h.writeUInt32LE(1, 12)],
  ['codec', (h) => h.writeUInt16LE(9, 32)],
  ['reserved after the codec', (h) => h.writeUInt16LE(1, 34)],
  ['key id', (h) => h.writeUInt8(1, 88)],
  ['signature', (h) => h.writeUInt8(1, 183)],
  ['reserved', (h) => h.writeUInt8(1, 507)],
];
for (const [field, change] of newer) {
  test(`a ${field} that this version does not know is never read around, not even with a good older slot`, async () => {
    const made = await disk('old', 'new');
    patch(made, slot[1], change);
    await failure(ContainerNewerError, () => readContainer(made, gap));
    await failure(ContainerNewerError, () => writeContainer(made, gap, payload('x'), { targetId }));
    await writeContainer(made, gap, payload('x'), { targetId, replaceDamaged: true });
    assert.is(textOf((await readContainer(made, gap)).payload), 'x');
  });
}

const absurd: [string, string, (header: Buffer) => void][] = [
  ['version 0', 'bad header', (h) => h.writeUInt16LE(0, 8)],
  ['header length', 'bad header', (h) => h.writeUInt16LE(511, 10)],
  ['generation 0', 'bad header', (h) => h.writeBigUInt64LE(0n, 16)],
  ['generation 2^64-1', 'bad header', (h) => h.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 16)],
  ['payload length over the slot', 'payload too large', (h) => h.writeBigUInt64LE(503_809n, 24)],
  ['payload length 2^40', 'payload too large', (h) => h.writeBigUInt64LE(1n << 40n, 24)],
  ['payload length 2^63', 'bad header', (h) => h.writeBigUInt64LE(1n << 63n, 24)],
  ['payload length shorter', 'bad hash', (h) => h.writeBigUInt64LE(2n, 24)],
  ['alignment', 'bad header', (h) => h.writeUInt32LE(0, 36)],
  ['sha256', 'bad hash', (h) => h.writeUInt8(h.readUInt8(56) ^ 1, 56)],
];
for (const [field, kind, change] of absurd) {
  test(`${field}: the slot is bad, the other one is used; with both bad nothing is`, async () => {
    const made = await disk('old', 'new');
    patch(made, slot[1], change);
    const read = await readContainer(made, gap);
    assert.is(textOf(read.payload), 'old');
    assert.is(read.problems[0]?.kind, kind);
    patch(made, slot[0], change);
    const error = await failure(ContainerDamagedError, () => readContainer(made, gap));
    assert.is(error.problems.length, 2);
    assert.is(error.exitCode, 6);
  });
}

test('equal generations that differ are a conflict; equal ones that agree are not', async () => {
  const made = await disk('one', 'two');
  patch(made, slot[0], (header) => header.writeBigUInt64LE(2n, 16));
  await failure(ContainerConflictError, () => readContainer(made, gap));
  await failure(ContainerConflictError, () => writeContainer(made, gap, payload('x'), { targetId }));
  made.bytes.copyWithin(slot[0], slot[1], slot[1] + 8192);
  assert.is(textOf((await readContainer(made, gap)).payload), 'two');
});

test("another target's profile is refused, unless it shall be replaced, and leaves nothing to fall back to", async () => {
  const made = await disk('one', 'two');
  const error = await failure(WrongTargetError, () => readContainer(made, gap, { targetId: otherId }));
  assert.is(error.data.found, targetId);
  await failure(WrongTargetError, () => writeContainer(made, gap, payload('x'), { targetId: otherId }));
  assert.is(textOf((await readContainer(made, gap)).payload), 'two', 'nothing was written');
  await writeContainer(made, gap, payload('x'), { targetId: otherId, replaceTarget: true });
  const read = await readContainer(made, gap, { targetId: otherId });
  assert.equal([read.generation, read.problems.length], [3, 0]);
  made.bytes[slot[0]] ^= 1;
  await failure(DoppelError, () => readContainer(made, gap));
});

test('a generation that is not the expected one stops the write', async () => {
  const made = await disk('one');
  await failure(ContainerChangedError, () => writeContainer(made, gap, payload('x'), { targetId, expectGeneration: 0 }));
  await writeContainer(made, gap, payload('two'), { targetId, expectGeneration: 1 });
  const blank = await disk();
  await failure(ContainerChangedError, () => writeContainer(blank, gap, payload('x'), { targetId, expectGeneration: 1 }));
  await writeContainer(blank, gap, payload('x'), { targetId, expectGeneration: 0 });
});

test('above the highest generation there is none: such a profile is not written over by one that nobody would read', async () => {
  const made = await disk('one');
  const header = Buffer.from(made.bytes.buffer, slot[0], 512);
  header.writeBigUInt64LE(BigInt(Number.MAX_SAFE_INTEGER), 16);
  header.writeUInt32LE(crc32(header.subarray(0, 508)), 508);
  await failure(LastGenerationError, () => writeContainer(made, gap, payload('two'), { targetId, replaceDamaged: true }));
  assert.is(textOf((await readContainer(made, gap)).payload), 'one');
});

test('damage is not overwritten without being asked to', async () => {
  const made = await disk('one', 'two');
  for (const at of slot) made.bytes[at + 20] ^= 1;
  const before = made.bytes.slice();
  await failure(ContainerDamagedError, () => writeContainer(made, gap, payload('x'), { targetId }));
  assert.equal(Buffer.compare(made.bytes, before), 0);
  await writeContainer(made, gap, payload('x'), { targetId, replaceDamaged: true });
  assert.equal((await readContainer(made, gap)).problems, []);
});

test('E024: the largest payload fits, one byte more does not', async () => {
  const made = await disk('one');
  const limit = 507_904 - 4096;
  const error = await failure(PayloadTooLargeError, () => writeContainer(made, gap, new Uint8Array(limit + 1), { targetId }));
  assert.equal([error.data.diagnostic, error.data.limit, error.exitCode], ['E024', limit, 5]);
  const largest = new Uint8Array(limit).fill(7);
  await writeContainer(made, gap, largest, { targetId });
  assert.equal(Buffer.compare((await readContainer(made, gap)).payload, largest), 0);
  assert.is(textOf(made.bytes.subarray(slot[0] + 4096, slot[0] + 4099)), 'one', 'the other slot is untouched');
});

test('an empty payload is a payload', async () => {
  const made = await disk('');
  assert.is((await readContainer(made, gap)).payload.length, 0);
});

test('a region that the image or its own length cuts off', async () => {
  const cut = new MemoryDisk(gap.offset + gap.length - 1);
  await failure(ContainerTruncatedError, () => readContainer(cut, gap));
  const small: Region = { ...gap, length: 16_383 };
  await failure(ContainerTruncatedError, () => readContainer(new MemoryDisk(2_097_152), small));
  const four: Region = { ...gap, length: 16_384 };
  const made = new MemoryDisk(2_097_152);
  await writeContainer(made, four, payload('fits'), { targetId });
  assert.is(textOf((await readContainer(made, four)).payload), 'fits');
});

test('a container keeps its alignment on a medium with other sectors', async () => {
  // 1000 KiB: at 16 KiB the second slot stands elsewhere than at 4 KiB.
  const region: Region = { ...gap, length: 1_024_000 };
  assert.not.equal(geometryOf(region, 16_384)?.slots, geometryOf(region, 4096)?.slots);
  const wide = new MemoryDisk(2_097_152, 16_384);
  for (const text of ['a', 'b']) await writeContainer(wide, region, payload(text), { targetId });
  const narrow = new MemoryDisk(wide.size, 512);
  narrow.bytes.set(wide.bytes);
  assert.is(textOf((await readContainer(narrow, region)).payload), 'b');
  await writeContainer(narrow, region, payload('c'), { targetId });
  wide.bytes.set(narrow.bytes);
  const read = await readContainer(wide, region);
  assert.equal([textOf(read.payload), read.generation, read.problems], ['c', 3, []]);
});

test('a region that begins off a page is used from the next page on', async () => {
  const region: Region = { ...gap, offset: gap.offset + 512 };
  const made = new MemoryDisk(2_097_152);
  await writeContainer(made, region, payload('x'), { targetId });
  assert.ok(made.log.filter((entry) => entry.startsWith('write')).every((entry) => Number(entry.split(' ')[1]) % 4096 === 0));
});

test('a huge region does not mean a huge payload', () => {
  assert.is(geometryOf({ ...gap, length: 1e12 }, 4096)?.maxPayload, maxPayloadBytes);
});

test('what reads back differently is an error, and the previous profile is still there', async () => {
  const made = await disk('one');
  const write = made.write.bind(made);
  made.write = async (from, offset) => {
    const bad = from.slice();
    bad[3] = (bad[3] as number) ^ 0x10;
    await write(bad, offset);
  };
  await failure(ContainerNotWrittenError, () => writeContainer(made, gap, payload('two'), { targetId }));
  assert.is(textOf((await readContainer(made, gap)).payload), 'one');
});

test('a header is never made for something that is no target id', () => {
  const header = { generation: 1, payloadLength: 0, codec: 1, alignment: 4096, sha256: new Uint8Array(32) };
  assert.throws(() => encodeHeader({ ...header, targetId: 'x' }), RangeError);
  assert.throws(() => encodeHeader({ ...header, targetId: targetId.toUpperCase() }), RangeError);
});

test.run();
