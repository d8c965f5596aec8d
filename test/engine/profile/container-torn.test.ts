import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readContainer } from '../../../src/engine/profile/container.ts';
import { type RegionWriter, writeContainer } from '../../../src/engine/profile/container-write.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { MemoryDisk, otherId, PowerCut, targetId } from './memory-disk.ts';
import { failure } from './support.ts';

const region: Region = { offset: 4096, length: 32_768, carrier: 'raw', name: 'raw range at 4096' };
const size = 40_960;

async function prepare(...payloads: Uint8Array[]): Promise<Uint8Array> {
  const disk = new MemoryDisk(size);
  for (const payload of payloads) await writeContainer(disk, region, payload, { targetId });
  return disk.bytes;
}

function from(bytes: Uint8Array): MemoryDisk {
  const disk = new MemoryDisk(size);
  disk.bytes.set(bytes);
  return disk;
}

const old = randomBytes(3000);
const older = randomBytes(5000);
const next = randomBytes(4500);
/** Payload padded to 8192 bytes, header block of 4096. */
const written = 12_288;

for (const [name, before] of [
  ['one slot in use', [old]],
  ['both slots in use', [older, old]],
] as const) {
  test(`power cut after every byte, ${name}: the previous or the new profile reads, whole`, async () => {
    const start = await prepare(...before);
    let becameNew = 0;
    for (let bytes = 0; bytes < written; bytes++) {
      const disk = from(start);
      disk.bytesLeft = bytes;
      await failure(PowerCut, () => writeContainer(disk, region, next, { targetId }));
      const { payload, generation } = await readContainer(disk, region, { targetId });
      const isNew = generation === before.length + 1;
      if (isNew) becameNew++;
      assert.equal(Buffer.compare(payload, isNew ? next : old), 0, `after ${bytes} bytes`);
      // The header is complete after its 512 bytes; nothing before that may count.
      assert.is(isNew, bytes >= written - 4096 + 512, `after ${bytes} bytes`);
      if (bytes % 512 === 0) {
        disk.bytesLeft = Number.POSITIVE_INFINITY;
        const again = await writeContainer(disk, region, next, { targetId });
        assert.is(again.generation, generation + 1, 'the same command finishes it');
      }
    }
    assert.is(becameNew, 4096 - 512);
  });
}

test('power cut at each flush', async () => {
  const start = await prepare(older, old);
  for (const flushes of [0, 1]) {
    const disk = from(start);
    disk.flushesLeft = flushes;
    await failure(PowerCut, () => writeContainer(disk, region, next, { targetId }));
    const { payload } = await readContainer(disk, region);
    assert.equal(Buffer.compare(payload, flushes === 0 ? old : next), 0);
  }
});

/** Keeps what was not flushed apart, so that a power cut can lose any of it. */
class CachedDisk implements RegionWriter {
  readonly name = 'cached';
  readonly physicalSectorSize = 512;
  readonly size = size;
  readonly stable: Uint8Array;
  pending: { offset: number; sector: Uint8Array }[] = [];
  flushes = 0;
  readonly cutAt: number;

  constructor(stable: Uint8Array, cutAt: number) {
    this.stable = stable.slice();
    this.cutAt = cutAt;
  }
  async read(into: Uint8Array, offset: number) {
    const now = this.stable.slice();
    for (const { offset: at, sector } of this.pending) now.set(sector, at);
    into.set(now.subarray(offset, offset + into.length));
  }
  async write(bytes: Uint8Array, offset: number) {
    for (let at = 0; at < bytes.length; at += 512) this.pending.push({ offset: offset + at, sector: bytes.slice(at, at + 512) });
  }
  async flush() {
    if (this.flushes++ === this.cutAt) throw new PowerCut();
    for (const { offset, sector } of this.pending) this.stable.set(sector, offset);
    this.pending = [];
  }
}

test('a power cut that loses any of the unflushed sectors, in any order', async () => {
  const start = await prepare(older, old);
  for (const cutAt of [0, 1]) {
    for (let round = 0; round < 200; round++) {
      const disk = new CachedDisk(start, cutAt);
      await failure(PowerCut, () => writeContainer(disk, region, next, { targetId }));
      const survivors = disk.pending.filter(
        (_, index) => randomBytes(1).readUInt8() % 2 === 0 || index === round % disk.pending.length,
      );
      const after = from(disk.stable);
      for (const { offset, sector } of survivors) after.bytes.set(sector, offset);
      const { payload, generation } = await readContainer(after, region);
      assert.equal(Buffer.compare(payload, generation === 3 ? next : old), 0);
      if (cutAt === 0) assert.is(generation, 2);
    }
  }
});

test('replacing another target, cut at every 64 bytes: one of the two profiles reads, and never an older one', async () => {
  const start = await prepare(older, old);
  // Payload, header, and the blanking of the slot that the other target had.
  for (let bytes = 0; bytes < written + 4096; bytes += 64) {
    const disk = from(start);
    disk.bytesLeft = bytes;
    await failure(PowerCut, () => writeContainer(disk, region, next, { targetId: otherId, replaceTarget: true }));
    const read = await readContainer(disk, region);
    assert.equal(Buffer.compare(read.payload, read.targetId === otherId ? next : old), 0, `after ${bytes} bytes`);
  }
});

test.run();
