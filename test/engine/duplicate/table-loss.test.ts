/** Sources whose partition table cannot be read as a whole: what no copy of it knows is lost and told, and the map says where. */
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone, executeClones } from '../../../src/engine/duplicate/execute.ts';
import { planClone, planClones } from '../../../src/engine/duplicate/make-plan.ts';
import { readRescueMap, writeRescueMap } from '../../../src/engine/duplicate/rescue-map.ts';
import type { ByteRange } from '../../../src/engine/image/contract.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, checkGpt, filesOf, hashOf, tableOf } from './disk-facts.ts';
import { attempt, badSectors } from './faulty.ts';
import { requestOf, targetWithProfile } from './requests.ts';
import { copyDisk, copyPart, MiB, makeSmallDisk, newFile, parts, smallSize, tool, writeInto } from './small-disk.ts';
import { assertEqual, messages, verified } from './verified.ts';

const folder = tempDir('table-loss');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);
const SECTOR = 512;
const sector = (number: number): ByteRange => ({ offset: number * SECTOR, length: SECTOR });
const boot = sector(0);
const code: ByteRange = { offset: 0, length: 440 };
const behindCode: ByteRange = { offset: 440, length: 72 };
const header = sector(1);
const last = sector(smallSize / SECTOR - 1);
const lostBoot = [
  {
    number: 0,
    label: 'the boot sector (boot code, and the entries of a hybrid MBR if it was one)',
    bytes: SECTOR,
    elsewhere: SECTOR,
  },
];

test.before(async () => {
  await makeSmallDisk(source);
  writeInto(source, Buffer.alloc(code.length, 'BOOTCODE'), 0);
});

function blank(name: string, size: number = smallSize): string {
  newFile(at(name), size);
  return at(name);
}

/** A disk with a table and boot code of its own. */
function used(name: string): string {
  blank(name);
  tool('sgdisk', ['-n', '1:2048:+8M', at(name)]);
  writeInto(at(name), Buffer.alloc(code.length, `own of ${name} `), 0);
  return at(name);
}

async function mapWith(...bad: readonly ByteRange[]): Promise<string> {
  await writeRescueMap(at('source.map'), smallSize, { bad: IntervalSet.of(...bad), pending: IntervalSet.empty });
  return at('source.map');
}

async function badIn(map: string, size = smallSize): Promise<ByteRange[]> {
  return [...(await readRescueMap(map)).missing.intersect(IntervalSet.of({ offset: 0, length: size }))];
}

for (const how of ['with errors of the medium', 'by a map'] as const) {
  const failing = async (...bad: readonly ByteRange[]) =>
    how === 'by a map' ? { from: source, sourceMap: await mapWith(...bad) } : { from: (await badSectors(source, bad)).uri };

  test(`${how}: boot code that cannot be read is lost, told before and after, and bad in the map`, async () => {
    const { from, ...known } = await failing(boot);
    const target = blank('boot.img');
    const plan = await planClone(requestOf(from, target, { as: 'none', readErrors: 'zero', ...known }));
    assert.match(plan.warnings.join('\n'), /sector 0 of .* cannot be read, so its boot code is lost.* the target gets none/);
    const { result, warnings } = await attempt(from, target, { readErrors: 'zero', mapFile: at('boot.map'), ...known });
    assert.equal(result?.unreadable, { bytes: SECTOR, ranges: [boot], parts: lostBoot });
    assert.match(warnings.join('\n'), /512 bytes of .* are zeros on the target: 512 bytes of the boot sector/);
    assert.equal(await badIn(at('boot.map')), [boot]);
    assert.equal(bytesOf(target, code), Buffer.alloc(code.length));
    assert.is(tableOf(target), tableOf(source));
    checkGpt(target);
    const compared = await verified(from, target, { as: 'none', readErrors: 'zero', ...known });
    assertEqual(compared);
    assert.is(compared.unreadable, SECTOR);
    assert.match(compared.notes.join('\n'), /512 bytes of the source cannot be read, among them the boot sector/);
    assert.match(messages(await verified(source, target, { as: 'none' })).join('\n'), /the boot code .* differs/);
  });

  test(`${how}: what is known from the other copy of the table is no loss, and bad in the map all the same`, async () => {
    for (const [bad, name] of [
      [[{ offset: SECTOR, length: 2 * SECTOR }], 'primary'],
      [[last], 'last'],
    ] as const) {
      const { from, ...known } = await failing(...bad);
      const target = blank(`${name}.img`);
      const { result, error } = await attempt(from, target, { readErrors: 'zero', mapFile: at(`${name}.map`), ...known });
      assert.is(error, undefined, name);
      assert.is(result?.unreadable.bytes, 0, name);
      assert.equal(await badIn(at(`${name}.map`)), [...bad], name);
      assert.equal(bytesOf(target, code), bytesOf(source, code));
      assert.is(tableOf(target), tableOf(source));
      checkGpt(target);
    }
  });

  test(`${how}: with skip each target keeps its own boot code, and gets the new table`, async () => {
    const { from, ...known } = await failing(boot);
    const targets = [used('one.img'), used('two.img'), blank('none.img'), await targetWithProfile(folder, 'profile.img')];
    writeInto(targets[3] as string, Buffer.alloc(code.length, 'third code '), 0);
    const before = targets.map((target) => bytesOf(target, code));
    const wishes = { as: 'none', readErrors: 'skip', mapFile: at('skip.map'), ...known } as const;
    const requests = targets.map((target) => requestOf(from, target, wishes));
    const plans = await planClones(requests[0] as (typeof requests)[0], requests);
    assert.equal(
      plans.map(({ warnings }) => /the target (.*?), and/.exec(warnings.join('\n'))?.[1]),
      ['keeps its own', 'keeps its own', 'has none of its own', 'keeps its own'],
    );
    for (const outcome of await executeClones(plans)) {
      if ('error' in outcome) throw outcome.error;
      assert.equal(outcome.result.unreadable.parts, lostBoot);
    }
    const plain = bytesOf(at('none.img'), behindCode);
    for (const [index, target] of targets.entries()) {
      assert.equal(bytesOf(target, code), before[index], target);
      assert.equal(bytesOf(target, behindCode), plain, target);
      checkGpt(target);
      assertEqual(await verified(from, target, { as: 'none', readErrors: 'skip', ...known }));
    }
    assert.equal(await badIn(at('skip.map')), [boot]);
  });
}

test('a hybrid MBR that cannot be read is lost, and told', async () => {
  const hybrid = at('hybrid.img');
  copyDisk(source, hybrid);
  tool('sgdisk', ['--hybrid=1:2', hybrid]);
  const { uri } = await badSectors(hybrid, [boot]);
  const target = blank('hybrid-target.img');
  const { result, warnings } = await attempt(uri, target, { readErrors: 'zero', mapFile: at('hybrid.map') });
  assert.equal(result?.unreadable.parts, lostBoot);
  assert.match(warnings.join('\n'), 'entries of a hybrid MBR');
  assert.equal(await badIn(at('hybrid.map')), [boot]);
  assert.not.match(tool('sgdisk', ['--print-mbr', target]), /0x0?C|0x83/i);
  assert.match(messages(await verified(hybrid, target, { as: 'none' })).join('\n'), /entry 1 of the MBR differs/);
});

test('ddrescue fetches the boot code into a target with a profile by the map, and leaves its table alone', async () => {
  const target = await targetWithProfile(folder, 'fetches.img');
  const sourceMap = await mapWith({ offset: 0, length: 4 * SECTOR });
  const { result, error } = await attempt(source, target, { readErrors: 'zero', sourceMap, mapFile: at('fetches.map') });
  assert.is(error, undefined);
  assert.equal(result?.unreadable.parts, lostBoot);
  // All of the table but sector 0 says something else there than on the source.
  assert.equal(await badIn(at('fetches.map')), [boot]);
  const rest = { offset: SECTOR, length: smallSize - SECTOR };
  const before = hashOf(target, rest);
  tool('ddrescue', ['--sector-size=512', '--retry-passes=1', source, target, at('fetches.map')]);
  assert.equal(bytesOf(target, code), bytesOf(source, code));
  assert.is(hashOf(target, rest), before);
  checkGpt(target);
  assertEqual(await verified(source, target, { as: 'none' }));
});

test('on a larger target the backup of the source is not fetched into a part that has grown over it', async () => {
  const size = smallSize + 8 * MiB;
  for (const [bad, grow, wanted] of [
    [last, ['4'], []],
    [last, [], [last]],
    [header, ['4'], []],
  ] as const) {
    const sourceMap = await mapWith(bad);
    const target = blank('grown.img', size);
    const { result, error } = await attempt(source, target, { readErrors: 'zero', sourceMap, mapFile: at('grown.map'), grow });
    assert.is(error, undefined);
    assert.is(result?.unreadable.bytes, 0);
    assert.equal(await badIn(at('grown.map')), [...wanted]);
  }
});

test('with skip a target whose boot code an unfinished run has replaced gets none, and its owner is told', async () => {
  const wishes = { as: 'none', readErrors: 'skip', sourceMap: await mapWith(boot), mapFile: at('stopped.map') } as const;
  const target = used('stopped.img');
  const stop = new AbortController();
  const plan = await planClone(requestOf(source, target, wishes));
  const stopped = await executeClone(plan, {
    signal: stop.signal,
    onEvent: (event) => event.type === 'phase' && event.phase === 'verify' && stop.abort(new Error('stopped')),
  }).catch((error: Error) => error.message);
  assert.is(stopped, 'stopped');
  // The fence stays a fence, whatever is fetched by the map.
  assert.not.ok((await badIn(at('stopped.map'))).some(({ offset }) => offset === 0));
  const again = await planClone(requestOf(source, target, wishes));
  assert.match(again.warnings.join('\n'), 'has lost its own to the run that did not finish');
  assert.equal((await executeClone(again)).unreadable.parts, lostBoot);
  assert.equal(bytesOf(target, code), Buffer.alloc(code.length));
  checkGpt(target);
});

test('logical partitions whose boot record cannot be read are refused, not left out', async () => {
  const disk = at('logical.img');
  copyPart(source, { offset: 0, length: MiB }, disk);
  truncateSync(disk, smallSize);
  writeInto(disk, bytesOf(source, parts.root), parts.root.offset);
  writeInto(disk, bytesOf(source, parts.app), parts.app.offset);
  tool('sgdisk', ['--zap-all', disk]);
  const place = ({ offset, length }: ByteRange) => `start=${offset / SECTOR}, size=${length / SECTOR}`;
  const script = `label: dos\n${place(parts.root)}, type=83\nstart=${parts.swap.offset / SECTOR}, type=5\n${place(parts.app)}, type=83\n`;
  tool('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', '--wipe=never', '--wipe-partitions=never', disk], script);
  const target = blank('logical-target.img');
  const { uri } = await badSectors(disk, [{ offset: parts.swap.offset, length: SECTOR }]);
  const { error, state } = await attempt(uri, target, { readErrors: 'zero' });
  assert.is(error?.code, 'TABLE_CORRUPT');
  assert.match(error?.message ?? '', /which logical partitions there are/);
  assert.is(state, 'untouched');
  const { result } = await attempt(disk, target);
  assert.is(result?.unreadable.bytes, 0);
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
});

test.run();
