import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkMapPlace, mapOf, parseRescueMap, readRescueMap, writeRescueMap } from '../../../src/engine/duplicate/rescue-map.ts';
import type { ByteRange } from '../../../src/engine/image/contract.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { random } from '../image/random.ts';
import { bytesOf, filesOf, hashOf } from './disk-facts.ts';
import { asDevice, attempt, badSectors } from './faulty.ts';
import { clone, refusal, targetWithProfile } from './requests.ts';
import { copyPart, MiB, makeSmallDisk, newFile, parts, smallSize, tool, writeInto } from './small-disk.ts';

const folder = tempDir('rescue');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);
const regionRange = { offset: 32_768, length: 1_015_808 };
/** In a file, and in a block that no file has. */
let bad: { readonly used: ByteRange; readonly free: ByteRange };

test.before(async () => {
  await makeSmallDisk(source);
  const debugfs = (command: string) => tool('debugfs', ['-R', command, `${source}?offset=${parts.app.offset}`]).trim();
  const sector = (block: number) => ({ offset: parts.app.offset + block * 4096 + 1024, length: 512 });
  const blocks = debugfs('blocks /db/large').split(/\s+/).map(Number);
  bad = { used: sector(blocks[300] as number), free: sector(Number(/(\d+)$/.exec(debugfs('ffb 1 4000'))?.[1])) };
});

async function failingDevice(): Promise<string> {
  return (await asDevice((await badSectors(source, [bad.used, bad.free])).uri)).device;
}

function ddrescue(...args: readonly string[]): string {
  return tool('ddrescue', ['--sector-size=512', '--idirect', '--retry-passes=1', ...args]);
}

function checkWhole(target: string): void {
  for (const name of ['root', 'app'] as const) assert.equal([...filesOf(target, parts[name])], [...filesOf(source, parts[name])]);
}

const ranges = (set: IntervalSet) => [...set];
const wholeDisk = IntervalSet.of({ offset: 0, length: smallSize });

test("what ddrescue could not read counts as lost: refused, or told whose it is where somebody's", async () => {
  ddrescue(await failingDevice(), at('rescued.img'), at('rescued.map'));
  assert.equal(
    ranges((await readRescueMap(at('rescued.map'))).missing.intersect(wholeDisk)),
    [bad.used, bad.free].toSorted((one, other) => one.offset - other.offset),
  );
  const target = at('of-rescued.img');
  newFile(target, smallSize);
  const refused = await attempt(at('rescued.img'), target, { sourceMap: at('rescued.map') });
  assert.is(refused.error?.code, 'SOURCE_DAMAGED');
  assert.is(refused.error?.exitCode, 4);
  assert.is(refused.state, 'untouched');
  const { result, state } = await attempt(at('rescued.img'), target, { sourceMap: at('rescued.map'), readErrors: 'zero' });
  assert.is(state, 'committed');
  assert.equal(result?.unreadable, {
    bytes: 512,
    ranges: [bad.used],
    parts: [{ number: 4, label: 'partition 4 ("app")', bytes: 512, files: ['/db/large'], elsewhere: 0 }],
  });
});

test('ddrescue goes on by the map of a clone: it fetches what is missing into the target, and touches nothing else', async () => {
  const target = await targetWithProfile(folder, 'goes-on.img');
  const region = hashOf(target, regionRange);
  const { result, state } = await attempt(await failingDevice(), target, { readErrors: 'zero', mapFile: at('clone.map') });
  assert.is(state, 'committed');
  assert.is(result?.unreadable.bytes, 512);
  assert.match(tool('ddrescuelog', ['--show-status', at('clone.map')]), /bad-sector: +512 B, {2}in +1 area/);
  const head = { offset: 0, length: parts.app.offset };
  const before = hashOf(target, head);
  ddrescue(source, target, at('clone.map'));
  assert.match(tool('ddrescuelog', ['--show-status', at('clone.map')]), /bad-sector: +0 B/);
  checkWhole(target);
  assert.is(hashOf(target, head), before);
  assert.is(hashOf(target, regionRange), region);
});

test('a clone that fails leaves a map too; ddrescue completes the copy by it, and the same command makes it a clone', async () => {
  const target = await targetWithProfile(folder, 'fails.img');
  const region = hashOf(target, regionRange);
  const failed = await attempt(await failingDevice(), target, { mapFile: at('failed.map') });
  assert.is(failed.error?.code, 'SOURCE_UNREADABLE');
  assert.is(failed.state, 'fenced');
  const { missing } = await readRescueMap(at('failed.map'));
  assert.ok(missing.covers(bad.used) && !missing.touches(bad.free) && !missing.touches(regionRange));
  assert.match(readFileSync(at('failed.map'), 'utf8'), new RegExp(`^0x0*${bad.used.offset.toString(16)}  0x00000200  -$`, 'im'));
  ddrescue(source, target, at('failed.map'));
  assert.is(hashOf(target, regionRange), region);
  const { result, state } = await attempt(source, target, { delta: true });
  assert.is(state, 'committed');
  assert.ok((result?.written ?? MiB) < 64 << 10, `${result?.written} bytes were written`);
  assert.is(hashOf(target, regionRange), region);
  checkWhole(target);
});

test('a map is written where it can be replaced, and nothing else is overwritten for it', async () => {
  const target = at('untouched.img');
  newFile(target, smallSize);
  writeFileSync(at('letter.txt'), 'dear all\n');
  writeFileSync(at('old.map'), '0x0 ? 1\n0 100 ?\n');
  const readOnly = mount('none', 'tmpfs', 'ro,size=1m');
  for (const [mapFile, why] of [
    [at('letter.txt'), /no map file/],
    [at('none/there.map'), /folder cannot be written/],
    [folder, /no regular file/],
    ['/dev/null', /no regular file/],
    [join(readOnly.path, 'm.map'), /folder cannot be written/],
    [source, /no map file/],
  ] as const) {
    const error = await refusal(() => checkMapPlace(mapFile, undefined));
    assert.is(error.exitCode, 2, mapFile);
    assert.match(error.message, why);
    assert.is((await attempt(source, target, { mapFile })).state, 'untouched');
  }
  readOnly.unmount();
  assert.match((await refusal(() => checkMapPlace(at('old.map'), at('./old.map')))).message, 'map file of the source');
  await checkMapPlace(at('old.map'), undefined);
  await checkMapPlace(at('new.map'), undefined);
});

test('a map that cannot be written in the end is told, and the target is what it is', async () => {
  const small = mount('none', 'tmpfs', 'size=64k');
  const target = at('no-map.img');
  newFile(target, smallSize);
  const { result, state, warnings } = await attempt(source, target, { mapFile: join(small.path, 'm.map') }, (event) => {
    if (event.type === 'phase' && event.phase === 'copy') tool('mount', ['-o', 'remount,ro', small.path]);
  });
  assert.is(state, 'committed');
  assert.match(result?.mapProblem ?? '', /m\.map cannot be written/);
  assert.match(warnings.join(), /m\.map cannot be written/);
  small.unmount();
  const full = mount('none', 'tmpfs', 'size=4k,nr_inodes=8');
  writeFileSync(join(full.path, 'fill'), Buffer.alloc(4096));
  const bytes = IntervalSet.of(...Array.from({ length: 500 }, (_, i) => ({ offset: i * 2000, length: 512 })));
  await refusal(() => writeRescueMap(join(full.path, 'm.map'), MiB, { bad: bytes, pending: IntervalSet.empty }));
  assert.equal(readdirSync(full.path), ['fill']);
  full.unmount();
});

test('what is no map file is refused with its line', async () => {
  const head = '# comment\n0x0 ? 1\n';
  for (const [text, line] of [
    ['', 0],
    ['no map\n', 1],
    ['0x0 ? 1\n', 0],
    [`${head}0 10 +\n20 10 -\n`, 4],
    [`${head}0 10 +\n10 10 x\n`, 4],
    [`${head}0 10\n`, 3],
    [`${head}0 -10 +\n`, 3],
    [`${head}0 99999999999999999999 +\n`, 3],
    ['\0'.repeat(100), 1],
  ] as const) {
    const error = await refusal(async () => parseRescueMap(text, 'x.map'));
    assert.is(error.exitCode, 6);
    assert.is(error.data.line, line, JSON.stringify(text));
  }
  for (const path of ['/dev/zero', folder]) assert.is((await refusal(() => readRescueMap(path))).exitCode, 6);
  assert.is((await refusal(() => readRescueMap(at('missing')))).exitCode, 7);
  assert.not.ok(existsSync(at('missing')));
});

test('a disk without a table keeps or loses, and tells, what is lost at its head and at its end', async () => {
  const whole = at('bare.img');
  copyPart(source, parts.app, whole);
  const size = parts.app.length;
  for (const [offset, length] of [
    [0, 4096],
    [20_480, 8192],
    [size - 8192, 4096],
  ] as const) {
    const lost = IntervalSet.of({ offset, length });
    await writeRescueMap(at('bare.source.map'), size, { bad: lost, pending: IntervalSet.empty });
    for (const readErrors of ['zero', 'skip'] as const) {
      const target = at('bare-target.img');
      newFile(target, size);
      const old = Buffer.alloc(size, 0xaa);
      writeInto(target, old, 0);
      const wishes = { as: 'none', exact: true, sourceMap: at('bare.source.map'), mapFile: at('bare.map'), readErrors };
      const { result } = await clone(whole, target, wishes);
      assert.is(result.unreadable.bytes, length);
      const wanted = readErrors === 'zero' ? Buffer.alloc(length) : old.subarray(0, length);
      assert.equal(bytesOf(target, { offset, length }), wanted, `${readErrors} at ${offset}`);
      assert.equal(
        [...(await readRescueMap(at('bare.map'))).missing.intersect(IntervalSet.of({ offset: 0, length: size }))],
        [...lost],
      );
    }
  }
});

test('maps of several targets: whatever is missing on one is missing, but never what is protected on any', async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const { below } = random(seed);
    const some = (count: number) =>
      IntervalSet.of(...Array.from({ length: count }, () => ({ offset: below(1000) * 512, length: (1 + below(40)) * 512 })));
    const none = IntervalSet.empty;
    const plans = Array.from({ length: 1 + below(3) }, (_, index) => {
      const region = { offset: below(900) * 512, length: 512 * 20, carrier: 'raw' as const, name: `region ${index}` };
      const kept = some(2);
      const copy = some(20).subtract(kept).subtract(IntervalSet.of(region));
      return {
        plan: { copy, withheld: 0, regions: [region], kept, knownBad: some(2), tableLoss: { lost: none, bad: some(1) } },
        done: below(2) === 1,
        durable: undefined,
      };
    });
    const unreadable = ranges(some(4));
    const map = mapOf(plans, unreadable);
    const path = at('several.map');
    await writeRescueMap(path, 600_000, map);
    const read = await readRescueMap(path);
    const { finished } = read;
    const missing = read.missing.intersect(IntervalSet.of({ offset: 0, length: 600_000 }));
    assert.equal(ranges(missing), ranges(map.bad.union(map.pending)));
    assert.is(finished.bytes + missing.bytes, 600_000);
    for (const { plan, done } of plans) {
      for (const region of plan.regions) assert.not.ok(missing.touches(region));
      assert.is(missing.intersect(plan.kept).bytes, 0);
      const others = plans.map((each) => IntervalSet.of(...each.plan.regions).union(each.plan.kept)).reduce((a, b) => a.union(b));
      if (!done) assert.is(plan.copy.subtract(missing).subtract(others).bytes, 0);
    }
    assert.match(tool('ddrescuelog', ['--show-status', path]), /current/);
  }
});

test.run();
