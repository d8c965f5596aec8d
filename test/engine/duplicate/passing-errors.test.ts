/** A source whose errors pass while it is copied: nothing is lost, and people are told that it happened. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClones } from '../../../src/engine/duplicate/execute.ts';
import { planClones } from '../../../src/engine/duplicate/make-plan.ts';
import { readRescueMap } from '../../../src/engine/duplicate/rescue-map.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { type ByteRange, end } from '../../../src/engine/image/contract.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, hashOf } from './disk-facts.ts';
import { attempt, type Served, serve } from './faulty.ts';
import { requestOf } from './requests.ts';
import { MiB, makeSmallDisk, newFile, parts, smallSize } from './small-disk.ts';

const folder = tempDir('passing-errors');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);
/** What fails for a while: near the end of the disk, across two blocks of the copy, and sectors alone. */
const passing: ByteRange[] = [
  { offset: 70 * MiB - 4096, length: 20_480 },
  { offset: parts.app.offset + 15 * MiB + 1024, length: 512 },
  { offset: 78 * MiB, length: 1536 },
];
const passed = passing.reduce((sum, { length }) => sum + length, 0);

test.before(() => makeSmallDisk(source));

function blank(name: string): string {
  newFile(at(name), smallSize);
  return at(name);
}

interface Ailing extends Served {
  readonly onEvent: (event: EngineEvent) => void;
}

/** `passing` fails from the middle of the copy until what failed is tried again; `stays` fails from then on. */
async function ailing(name: string, stays: readonly ByteRange[] = []): Promise<Ailing> {
  const list = at(`${name}.bad`);
  const set = (...bad: readonly ByteRange[]): void =>
    writeFileSync(list, bad.map((range) => `${range.offset} ${end(range)}\n`).join(''));
  set();
  const pread = [
    `while read from to; do [ $4 -ge $to ] || [ $(($4 + $3)) -le $from ] || { echo EIO injected >&2; exit 1; }; done <'${list}'`,
    `exec dd if='${source}' iflag=skip_bytes,count_bytes bs=1M skip=$4 count=$3 status=none`,
  ].join('\n');
  const server = await serve(at(`${name}.socket`), 'eval', `get_size=echo ${smallSize}`, `pread=${pread}`);
  return {
    ...server,
    onEvent(event) {
      if (event.type === 'phase' && event.phase === 'copy') set(...passing, ...stays);
      if (event.type === 'phase' && event.phase === 'again') set(...stays);
    },
  };
}

for (const readErrors of ['zero', 'skip'] as const) {
  test(`with ${readErrors}, what could be read in the end is copied and is no damage`, async () => {
    const server = await ailing(readErrors);
    const target = blank(`${readErrors}.img`);
    const wishes = { readErrors, exact: true, mapFile: at(`${readErrors}.map`) };
    const { result, warnings, state } = await attempt(server.uri, target, wishes, server.onEvent);
    await server.stop();
    assert.is(state, 'committed');
    assert.equal(result?.unreadable, { bytes: 0, ranges: [], parts: [] });
    assert.match(warnings.join('\n'), `${passed} bytes of ${server.uri} could not be read at first, and then could`);
    for (const range of Object.values(parts)) assert.is(hashOf(target, range), hashOf(source, range));
    const { missing } = await readRescueMap(wishes.mapFile);
    assert.is(missing.intersect(IntervalSet.of({ offset: 0, length: smallSize })).count, 0);
  });
}

test('what stays bad is damage, and only that; all targets get the rest', async () => {
  const bad = { offset: parts.app.offset + 12_288, length: 1024 };
  const server = await ailing('stays', [bad]);
  const wishes = { as: 'none', readErrors: 'zero', exact: true } as const;
  const targets = ['one.img', 'two.img'].map((name) => requestOf(server.uri, blank(name), wishes));
  const plans = await planClones(requestOf(server.uri, at('one.img'), wishes), targets);
  const outcomes = await executeClones(plans, { onEvent: server.onEvent });
  await server.stop();
  for (const outcome of outcomes) {
    if ('error' in outcome) throw outcome.error;
    assert.equal(outcome.result.unreadable.ranges, [bad]);
    const target = outcome.plan.target.path;
    assert.ok(bytesOf(target, bad).every((byte) => byte === 0));
    for (const range of [
      parts.esp,
      parts.root,
      parts.swap,
      { offset: parts.app.offset, length: 12_288 },
      { offset: end(bad), length: end(parts.app) - end(bad) },
    ]) {
      assert.is(hashOf(target, range), hashOf(source, range));
    }
  }
});

test.run();
