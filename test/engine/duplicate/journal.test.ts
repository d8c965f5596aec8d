import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { findJournal, Journal, JournalError, journalPath, readJournal } from '../../../src/engine/duplicate/journal.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import type { DigestRecord } from '../../../src/engine/lanes/digests.ts';
import { mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { random } from '../image/random.ts';
import { filesOf } from './disk-facts.ts';
import { attempt, serve } from './faulty.ts';
import { refusal, requestOf } from './requests.ts';
import { makeSmallDisk, newFile, parts, smallSize } from './small-disk.ts';

const folder = tempDir('journal');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);
const runId = '11111111-2222-4333-8444-555555555555';
const facts = { runId, source: { size: 5, name: 'Müller' }, target: { size: 6 } };

test.before(() => makeSmallDisk(source));

let count = 0;
const newDir = (): string => at(`states-${++count}`);

function pieces(from: number, number: number): DigestRecord[] {
  return Array.from({ length: number }, (_, i) => ({
    offset: (from + i) * 4096,
    length: 4096,
    digest: (from + i) % 3 === 0 ? undefined : BigInt(from + i) * 0x9e37_79b9_7f4an,
  }));
}

async function written(dir: string, batches: readonly (readonly DigestRecord[])[]): Promise<string> {
  const journal = await Journal.open(dir, facts, undefined);
  for (const batch of batches) await journal.append(batch);
  await journal.close();
  return journalPath(dir, runId);
}

test('what was noted is found again, whole batches, and a later note on a piece counts', async () => {
  const dir = newDir();
  const [again] = pieces(7, 1);
  await written(dir, [pieces(0, 10), pieces(10, 1), [{ ...(again as DigestRecord), digest: 99n }]]);
  const found = await readJournal(dir, runId);
  assert.equal(found?.facts, facts);
  for (const piece of pieces(0, 11)) {
    assert.equal(found?.durable.find(piece), piece.offset === 7 * 4096 ? { ...piece, digest: 99n } : piece);
  }
  assert.is(found?.durable.bytes, 11 * 4096);
  assert.is(found?.durable.find({ offset: 0, length: 8192 }), undefined);
  assert.is(found?.durable.find({ offset: 512, length: 4096 }), undefined);
  assert.equal(await findJournal(dir, ({ source: wanted }) => (wanted as typeof facts.source).size === 5), found);
  assert.is(await findJournal(dir, () => false), undefined);
});

test('a journal that was cut off or damaged anywhere counts up to there, and is gone on with', async () => {
  const dir = newDir();
  const batches = [pieces(0, 4), pieces(4, 4), pieces(8, 4)];
  const path = await written(dir, batches);
  const whole = readFileSync(path);
  const ends: number[] = [];
  for (let i = 0; i < whole.length; i++) {
    const line = whole.subarray(0, i + 1).toString('latin1');
    if (/(^|\n)(end [0-9a-f]{8}|doppel-journal 1 [^\n]*)\n$/.test(line)) ends.push(i + 1);
  }
  assert.is(ends.length, 4);
  const { below } = random(3);
  for (let length = 0; length <= whole.length; length += 1 + below(7)) {
    writeFileSync(path, whole.subarray(0, length));
    const found = await readJournal(dir, runId);
    const wholeBatches = ends.filter((each) => each <= length).length - 1;
    assert.is(found?.durable.bytes, wholeBatches < 0 ? undefined : wholeBatches * 4 * 4096, `cut at ${length}`);
  }
  for (let flips = 0; flips < 150; flips++) {
    const place = (ends[0] as number) + below(whole.length - (ends[0] as number));
    const damaged = Buffer.from(whole);
    damaged[place] = (damaged[place] as number) ^ (1 << below(8));
    writeFileSync(path, damaged);
    const found = await readJournal(dir, runId);
    const before = ends.filter((each) => each <= place).length - 1;
    assert.is(found?.durable.bytes, before * 4 * 4096, `bit flipped at ${place}`);
  }
  writeFileSync(path, whole.subarray(0, whole.length - 3));
  const torn = await readJournal(dir, runId);
  const journal = await Journal.open(dir, facts, torn);
  await journal.append(pieces(20, 2));
  await journal.close();
  assert.is((await readJournal(dir, runId))?.durable.bytes, 10 * 4096);
});

test('pieces that were written otherwise since do not count', async () => {
  const dir = newDir();
  const journal = await Journal.open(dir, facts, undefined);
  await journal.append(pieces(0, 10));
  await journal.markDirty([{ offset: 2 * 4096 + 100, length: 4096 }]);
  await journal.append(pieces(3, 1));
  await journal.close();
  const found = await readJournal(dir, runId);
  assert.equal([...(found?.durable.dirty ?? [])], [{ offset: 2 * 4096 + 100, length: 4096 }]);
  const known = pieces(0, 10).map((piece) => found?.durable.find(piece) !== undefined);
  assert.equal(known, [true, true, false, false, true, true, true, true, true, true]);
});

test('a new journal removes those about the same target, and no others', async () => {
  const dir = newDir();
  const id = (digit: number) => runId.replaceAll('1', String(digit));
  for (const [digit, size] of [
    [2, 6],
    [3, 7],
  ] as const) {
    await (await Journal.open(dir, { ...facts, runId: id(digit), target: { size } }, undefined)).close();
  }
  await (await Journal.open(dir, facts, undefined)).close();
  assert.equal(readdirSync(dir).sort(), [`${runId}.journal`, `${id(3)}.journal`]);
});

test('what is no journal is none, and a journal that cannot be written is an error with its path', async () => {
  const dir = newDir();
  const path = await written(dir, [pieces(0, 1)]);
  for (const text of [
    '',
    'garbage',
    'doppel-journal 1 {',
    'doppel-journal 1 null\n',
    'doppel-journal 2 {}\n',
    '\0'.repeat(1 << 17),
  ]) {
    writeFileSync(path, text);
    assert.is(await readJournal(dir, runId), undefined, JSON.stringify(text.slice(0, 20)));
  }
  assert.is(await readJournal(at('nowhere'), runId), undefined);
  writeFileSync(at('file'), '');
  const error = await refusal(() => Journal.open(at('file'), facts, undefined));
  assert.instance(error, JournalError);
  assert.match(error.message, at('file'));
  assert.match(error.todo, '--state-dir');
});

test('a full disk is an error, not half a note', async () => {
  const full = mount('none', 'tmpfs', 'size=16k');
  const journal = await Journal.open(full.path, facts, undefined);
  await journal.append(pieces(0, 4));
  const error = await refusal(() => journal.append(pieces(4, 4000)));
  assert.instance(error, JournalError);
  assert.match(error.message, 'ENOSPC');
  assert.is((await readJournal(full.path, runId))?.durable.bytes, 4 * 4096);
  await journal.remove();
  assert.equal(readdirSync(full.path), []);
  full.unmount();
});

function blank(name: string): string {
  newFile(at(name), smallSize);
  return at(name);
}

const copies = (event: EngineEvent): boolean => event.type === 'phase' && event.phase === 'copy';

test('the copy goes on, with a warning, when the disk of the journal fills up', async () => {
  const small = mount('none', 'tmpfs', 'size=64k');
  const target = blank('fills-up.img');
  const fill = () => {
    // The page that the journal has is taken from it too.
    for (const name of readdirSync(small.path)) truncateSync(join(small.path, name), 0);
    writeFileSync(join(small.path, 'fill'), Buffer.alloc(1 << 17).fill(1));
  };
  const wishes = { stateDir: { path: small.path, required: true } };
  const { state, warnings } = await attempt(source, target, wishes, (event) => {
    if (copies(event)) assert.throws(fill, 'ENOSPC');
  });
  assert.is(state, 'committed');
  assert.match(warnings.join(), /the journal .* cannot be used: ENOSPC.*: the copy goes on/);
  for (const name of ['root', 'app'] as const) assert.equal([...filesOf(target, parts[name])], [...filesOf(source, parts[name])]);
  assert.equal(readdirSync(small.path), ['fill']);
  small.unmount();
});

test('a folder that cannot be written is refused when it was named, else only told', async () => {
  const small = mount('none', 'tmpfs', 'ro,size=64k');
  const target = blank('read-only.img');
  const refused = await attempt(source, target, { stateDir: { path: small.path, required: true } });
  assert.is(refused.error?.code, 'JOURNAL');
  assert.is(refused.error?.exitCode, 7);
  assert.is(refused.state, 'untouched');
  assert.is(statSync(target).blocks, 0);
  const told = await attempt(source, target, { stateDir: { path: small.path, required: false } });
  assert.is(told.state, 'committed');
  assert.match(told.warnings.join(), 'a run that is killed will have to copy everything again');
  small.unmount();
});

test('two runs at once: the second one is refused, and the first one finishes', async () => {
  const target = blank('twice.img');
  const dir = newDir();
  const server = await serve(at('twice.socket'), 'file', source);
  const wishes = { stateDir: { path: dir, required: true } };
  let second: Promise<{ readonly exitCode?: number | undefined; readonly stdout: string }> | undefined;
  const first = await attempt(server.uri, target, wishes, (event) => {
    if (!copies(event)) return;
    // The first one waits for its source until the second one was refused.
    server.send('SIGSTOP');
    const args = ['clone', source, target, '--as=none', '--yes', '--json', `--state-dir=${dir}`];
    second = execa('node', ['--import', 'tsx', 'scripts/dev.ts', ...args], { reject: false, stdin: 'ignore' }).finally(() =>
      server.send('SIGCONT'),
    );
  });
  const { exitCode, stdout } = (await second) ?? {};
  assert.is(first.state, 'committed');
  assert.is(exitCode, 4, stdout);
  const { error, target: state } = JSON.parse(stdout ?? '');
  assert.is(error.code, 'TARGET_IN_USE');
  assert.is(state, 'untouched');
  assert.equal(readdirSync(dir), []);
  await server.stop();
});

test('a journal that is damaged while the run is stopped is worth what is left of it', async () => {
  const target = blank('stopped.img');
  const dir = newDir();
  const controller = new AbortController();
  const plan = await planClone(requestOf(source, target, { as: 'none', stateDir: { path: dir, required: true } }));
  const stopped = executeClone(plan, {
    checkpointEvery: 0,
    signal: controller.signal,
    onEvent: (event) => event.type === 'phase' && event.phase === 'verify' && controller.abort(new Error('stopped')),
  });
  await stopped.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'stopped'),
  );
  const [name] = readdirSync(dir);
  const path = join(dir, name as string);
  // The last note of several is torn.
  truncateSync(path, statSync(path).size - 5);
  const { result, state } = await attempt(source, target, { stateDir: { path: dir, required: true } });
  assert.is(state, 'committed');
  assert.ok((result?.resumed ?? 0) > 0 && (result?.written ?? 0) > 0);
  for (const part of ['root', 'app'] as const) assert.equal([...filesOf(target, parts[part])], [...filesOf(source, parts[part])]);
});

test.run();
