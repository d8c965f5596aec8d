/** A source whose errors pass while it is copied: nothing is lost, and people are told that it happened. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClones } from '../../../src/engine/duplicate/execute.ts';
import { planClones } from '../../../src/engine/duplicate/make-plan.ts';
import { readRescueMap } from '../../../src/engine/duplicate/rescue-map.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import type { ByteRange } from '../../../src/engine/image/contract.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, filesOf, hashOf } from './disk-facts.ts';
import { attempt, type Served, serve } from './faulty.ts';
import { requestOf } from './requests.ts';
import { MiB, makeSmallDisk, newFile, parts, smallSize } from './small-disk.ts';

const folder = tempDir('passing-errors');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);

test.before(() => makeSmallDisk(source));

function blank(name: string, size: number = smallSize): string {
  newFile(at(name), size);
  return at(name);
}

interface Flaky extends Served {
  /** From the event that `when` picks until what failed is tried again, most reads of the server fail. */
  during(when: (event: EngineEvent) => boolean): (event: EngineEvent) => void;
}

/** So many of 100 that hardly a block gets through whole, and not so many that it looks as if the server had gone. */
async function flaky(name: string, file: string, lost: readonly ByteRange[] = []): Promise<Flaky> {
  const trigger = at(`${name}.failing`);
  const map = at(`${name}.map`);
  const lines = lost.map(({ offset, length }) => `0 ${offset} +\n${offset} ${length} -\n${offset + length} ${smallSize} +\n`);
  writeFileSync(map, `0 + 1\n${lines.join('') || `0 ${smallSize} +\n`}`);
  const filters = ['--filter=error', '--filter=ddrescue'];
  const parameters = [`ddrescue-mapfile=${map}`, 'error-pread=EIO', 'error-pread-rate=80%', `error-pread-file=${trigger}`];
  const server = await serve(at(`${name}.socket`), ...filters, 'file', file, ...parameters);
  let begun = false;
  return {
    ...server,
    during: (when) => (event) => {
      if (!begun && when(event)) {
        begun = true;
        writeFileSync(trigger, '');
      }
      if (event.type === 'phase' && event.phase === 'again') rmSync(trigger, { force: true });
    },
  };
}

const copying = (event: EngineEvent): boolean => event.type === 'progress' && event.phase === 'copy' && event.done > 4 * MiB;

function checkWhole(target: string): void {
  for (const name of ['root', 'app'] as const) assert.equal([...filesOf(target, parts[name])], [...filesOf(source, parts[name])]);
}

for (const readErrors of ['zero', 'skip'] as const) {
  test(`with ${readErrors}, what could be read in the end is copied and is no damage`, async () => {
    const server = await flaky(readErrors, source);
    const target = blank(`${readErrors}.img`);
    const mapFile = at(`${readErrors}.target.map`);
    const { result, warnings, state } = await attempt(server.uri, target, { readErrors, mapFile }, server.during(copying));
    await server.stop();
    assert.is(state, 'committed');
    assert.equal(result?.unreadable, { bytes: 0, ranges: [], parts: [] });
    assert.match(warnings.join('\n'), /^\d+ bytes of .* could not be read at first, and then could$/);
    checkWhole(target);
    const { missing } = await readRescueMap(mapFile);
    assert.is(missing.intersect(IntervalSet.of({ offset: 0, length: smallSize })).count, 0);
    const { result: fresh } = await attempt(source, blank(`${readErrors}-fresh.img`), { readErrors });
    const total = (one: typeof result) => (one?.written ?? 0) + (one?.zeroed ?? 0);
    assert.is(total(result), total(fresh));
  });
}

test('what stays bad is damage, and only that; all targets get the rest', async () => {
  const bad = { offset: parts.app.offset + 12_288, length: 1024 };
  const server = await flaky('stays', source, [bad]);
  const targets = ['one.img', 'two.img'].map((name) =>
    requestOf(server.uri, blank(name), { as: 'none', readErrors: 'zero', exact: true }),
  );
  const plans = await planClones(requestOf(server.uri, at('one.img'), { as: 'none', readErrors: 'zero', exact: true }), targets);
  const outcomes = await executeClones(plans, { onEvent: server.during(copying) });
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
      { offset: bad.offset + bad.length, length: parts.app.length - 12_288 - bad.length },
    ]) {
      assert.is(hashOf(target, range), hashOf(source, range));
    }
  }
});

test.run();
