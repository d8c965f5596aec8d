import { linkSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseExpectation } from '../../../src/engine/duplicate/expect.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, fingerprint } from './disk-facts.ts';
import { clone, giveProfile, initRegion, refusal, requestOf, targetWithProfile, type Wishes, writeProfile } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, profileFile, smallSize, writeInto } from './small-disk.ts';

const folder = tempDir('refusals');
const source = join(folder, 'source.img');
const region = 32_768;
const slotLength = 1_015_808 / 2;
let target: string;

test.before(async () => {
  await makeSmallDisk(source);
  target = await targetWithProfile(folder);
});

/** Plans a clone that must be refused with this code and exit code, the target being untouched. */
async function refused(from: string, to: string, code: string, exitCode: number, wishes: Wishes = {}) {
  const before = statSync(to).isFile() ? fingerprint(to) : undefined;
  const error = await refusal(() => planClone(requestOf(from, to, wishes)));
  assert.is(error.code, code, `${error.code}: ${error.message}`);
  assert.is(error.exitCode, exitCode);
  if (before !== undefined) assert.is(fingerprint(to), before, 'nothing was written');
  return error;
}

function copyOf(disk: string, name: string): string {
  const copy = join(folder, name);
  copyDisk(disk, copy);
  return copy;
}

test('a target that is attached or mounted is refused', async () => {
  const busy = copyOf(target, 'busy.img');
  const loop = attachLoop(busy);
  assert.match((await refused(source, busy, 'TARGET_IN_USE', 4)).message, loop.device);
  loop.detach();
  const inside = copyOf(source, 'mounted.img');
  const part = attachLoop(inside, { offset: parts.app.offset, size: parts.app.length });
  const mounted = mount(part.device, 'ext4');
  assert.match((await refused(source, inside, 'TARGET_IN_USE', 4)).message, mounted.path);
  await refused(source, part.device, 'TARGET_IN_USE', 4);
  mounted.unmount();
  part.detach();
});

test('a target that is the source, by whatever name, is refused', async () => {
  const itself = copyOf(source, 'itself.img');
  linkSync(itself, join(folder, 'hard-link.img'));
  symlinkSync(itself, join(folder, 'link.img'));
  for (const name of ['itself.img', 'hard-link.img', 'link.img']) await refused(itself, join(folder, name), 'SAME_STORAGE', 4);
  const loop = attachLoop(itself, { readOnly: true });
  await refused(loop.device, itself, 'SAME_STORAGE', 4);
  loop.detach();
});

test('a target too small for the parts is refused with what they need', async () => {
  const small = join(folder, 'small.img');
  newFile(small, smallSize - 8 * MiB);
  await giveProfile(small, profileFile(folder));
  assert.match((await refused(source, small, 'TARGET_TOO_SMALL', 4)).message, /partition 4 \("app"\)/);
});

test('a target with other sectors than the source is refused', async () => {
  const file = join(folder, 'sectors.img');
  newFile(file, smallSize);
  const loop = attachLoop(file, { sectorSize: 4096 });
  await refused(source, loop.device, 'SECTOR_SIZE_MISMATCH', 4, { as: 'none' });
  loop.detach();
});

test('a blank target, and a region without a profile, need --as', async () => {
  const blank = join(folder, 'blank.img');
  newFile(blank, smallSize);
  assert.match((await refused(source, blank, 'NO_PROFILE', 4)).message, 'twin of source-01');
  await initRegion(blank);
  assert.match((await refused(source, blank, 'EMPTY_PROFILE', 4)).message, 'twin of source-01');
});

test('another profile replaces the one of the target only with --replace-profile', async () => {
  const other = profileFile(folder, (text) => text.replace('host: web-07', 'host: web-08'), 'web-08.yaml');
  const error = await refused(source, target, 'PROFILE_EXISTS', 4, { as: other });
  assert.match(error.message, 'it is web-07, and would become web-08');
  const replaced = copyOf(target, 'replaced.img');
  await clone(source, replaced, { as: other, replaceProfile: true });
  const { identity } = await planClone(requestOf(source, replaced));
  assert.is(identity.bundle?.resolved.host, 'web-08');
});

test('a target that is not the expected one is refused', async () => {
  for (const [text, found] of [
    ['serial=ABC', 'not known'],
    ['wwn=0x5000', 'not known'],
    ['size=1', String(smallSize)],
    ['host=web-07', 'not known'],
  ] as const) {
    const error = await refused(source, target, 'UNEXPECTED_TARGET', 4, { expect: [parseExpectation(text)] });
    assert.match(error.message, found);
  }
  await planClone(requestOf(source, target, { expect: [parseExpectation(`size=${smallSize}`)] }));
});

test('a compressed image is refused as a source and as a target', async () => {
  const foreign = join(folder, 'foreign.img');
  writeFileSync(foreign, gzipSync(Buffer.alloc(MiB, 'an image')));
  assert.match((await refused(foreign, target, 'FOREIGN_FORMAT', 4)).message, 'gzip');
  await refused(source, foreign, 'FOREIGN_FORMAT', 4);
});

test('a truncated source is corrupt input', async () => {
  const half = copyOf(source, 'half.img');
  truncateSync(half, smallSize / 2);
  await refused(half, target, 'TABLE_TRUNCATED', 6);
});

test('a source whose GPT is bad at both ends is corrupt input', async () => {
  const bad = copyOf(source, 'bad-table.img');
  for (const offset of [512 + 24, smallSize - 512 + 24]) writeInto(bad, Buffer.alloc(8, 0xee), offset);
  await refused(bad, target, 'TABLE_CORRUPT', 6);
});

test('a source whose entries overlap is corrupt input', async () => {
  const bad = copyOf(source, 'overlap.img');
  overlapEntries(bad);
  assert.match((await refused(bad, target, 'TABLE_CORRUPT', 6)).message, /overlap/);
});

test('a source that is itself an unfinished target is refused', async () => {
  const fenced = copyOf(target, 'fenced.img');
  const aborting = new AbortController();
  const stop = {
    signal: aborting.signal,
    onEvent: ({ type, phase }: { type: string; phase?: string }) =>
      void (type === 'phase' && phase === 'verify' && aborting.abort(new Error('stop here'))),
  };
  try {
    await clone(source, fenced, {}, stop);
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, 'stop here');
  }
  const again = copyOf(target, 'again.img');
  await refused(fenced, again, 'SOURCE_INCOMPLETE', 4);
  await clone(source, fenced);
  await planClone(requestOf(fenced, again, { as: 'none' }));
});

test('one damaged slot is a warning, two are refused', async () => {
  // Every write takes the older slot: after two of them both are valid.
  const damaged = copyOf(target, 'damaged.img');
  await writeProfile(
    damaged,
    profileFile(folder, (text) => text.replace('This is', 'Here is'), 'second.yaml'),
  );
  const [first, second] = [region, region + slotLength];
  writeInto(damaged, Buffer.alloc(64, 0xee), second + 100);
  const { warnings, identity } = await planClone(requestOf(source, damaged));
  assert.is(identity.bundle?.resolved.host, 'web-07');
  assert.ok(
    warnings.some((warning) => /slot 1/.test(warning)),
    warnings.join('\n'),
  );
  writeInto(damaged, Buffer.alloc(64, 0xee), first + 100);
  await refused(source, damaged, 'PROFILE_DAMAGED', 6);
});

test('an invalid profile is refused with line and column', async () => {
  const invalid = profileFile(folder, (text) => text.replace('sshHostKeys: {', 'sshHostKays: {'), 'invalid.yaml');
  const blank = join(folder, 'blank.img');
  newFile(blank, smallSize);
  const { exitCode, message } = await refusal(() => planClone(requestOf(source, blank, { as: invalid })));
  assert.is(exitCode, 5);
  assert.match(message, /invalid\.yaml:14:3/);
});

test('a service that the source does not have is refused before anything is written', async () => {
  const missing = profileFile(folder, (text) => text.replace('enable: [postgresql]', 'enable: [postgres-9]'), 'missing.yaml');
  const blank = join(folder, 'blank-unit.img');
  newFile(blank, smallSize);
  const before = fingerprint(blank);
  const error = await refusal(() => planClone(requestOf(source, blank, { as: missing })));
  assert.is(error.exitCode, 5);
  assert.match(error.message, 'E014');
  assert.match(error.message, 'postgres-9');
  assert.is(fingerprint(blank), before);
});

test('a boot loader under the region is refused; on a blank disk the region makes room for it', async () => {
  const loader = copyOf(source, 'loader.img');
  const code = Buffer.alloc(1000, 'a loader in the gap ');
  writeInto(loader, code, 100 * 512);
  const error = await refused(loader, target, 'REGION_OVER_LOADER', 4);
  assert.match(error.message, 'from byte 49152 on');
  const blank = join(folder, 'blank-loader.img');
  newFile(blank, smallSize + 4 * MiB);
  const { plan } = await clone(loader, blank, { as: profileFile(folder) });
  const [placed] = plan.regions;
  assert.ok((placed?.offset ?? 0) > parts.app.offset, 'the region is behind the parts');
  assert.ok(plan.copy.covers({ offset: 100 * 512, length: 1000 }));
  assert.ok(bytesOf(blank, { offset: 100 * 512, length: 1000 }).equals(code));
});

test('a hibernated source is refused', async () => {
  const asleep = copyOf(source, 'asleep.img');
  writeInto(asleep, Buffer.from('S1SUSPEND\0'), parts.swap.offset + 4096 - 10);
  assert.match((await refused(asleep, target, 'SOURCE_HIBERNATED', 4)).message, 'partition 3 ("swap")');
});

test('something that is no disk is refused', async () => {
  const text = join(folder, 'text.img');
  writeFileSync(text, Buffer.alloc(MiB, 'just text '));
  await refused(text, target, 'SOURCE_EMPTY', 4);
  await refused(folder, target, 'NOT_AN_IMAGE', 4);
});

/** Makes partition 2 begin inside of partition 1, with right checksums, in both copies. */
function overlapEntries(disk: string): void {
  const bytes = readFileSync(disk);
  for (const header of [512, smallSize - 512]) {
    const entries = Number(bytes.readBigUInt64LE(header + 72)) * 512;
    const length = bytes.readUInt32LE(header + 80) * bytes.readUInt32LE(header + 84);
    bytes.writeBigUInt64LE(BigInt((parts.esp.offset + MiB) / 512), entries + 128 + 32);
    bytes.writeUInt32LE(crc32(bytes.subarray(entries, entries + length)), header + 88);
    bytes.writeUInt32LE(0, header + 16);
    bytes.writeUInt32LE(crc32(bytes.subarray(header, header + 92)), header + 16);
    writeInto(disk, bytes.subarray(entries, entries + length), entries);
    writeInto(disk, bytes.subarray(header, header + 512), header);
  }
}

test.run();
