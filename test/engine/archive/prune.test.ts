/** What goes from the directory of an archive, and what never does. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { mediaTypes } from '../../../src/engine/archive/oci.ts';
import { executePrune, type PrunePlan, planPrune } from '../../../src/engine/archive/prune.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { refusal } from '../duplicate/requests.ts';
import { checkWhole, sample, write } from './samples.ts';

const folder = tempDir('prune');
let count = 0;
const finished = { unfinished: false };

async function archive(): Promise<string> {
  const path = join(folder, `archive-${++count}`);
  await write(sample(), await DirectorySink.create(path));
  return path;
}

/** A blob that any tool may have put there. */
function put(directory: string, content: string | object): { readonly digest: string; readonly size: number } {
  const bytes = Buffer.from(typeof content === 'string' ? content : JSON.stringify(content));
  const hex = createHash('sha256').update(bytes).digest('hex');
  writeFileSync(join(directory, 'blobs/sha256', hex), bytes);
  return { digest: `sha256:${hex}`, size: bytes.length };
}

/** Adds a descriptor to the index. */
function name(directory: string, descriptor: object): void {
  const index = JSON.parse(readFileSync(join(directory, 'index.json'), 'utf8'));
  index.manifests.push(descriptor);
  writeFileSync(join(directory, 'index.json'), JSON.stringify(index));
}

async function prune(directory: string, options = finished): Promise<PrunePlan> {
  const plan = await planPrune(directory, options);
  await executePrune(plan, options);
  return plan;
}

const files = (directory: string): string[] => readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();

test('what nothing names goes, the archive stays whole, and what is no blob stays', async () => {
  const directory = await archive();
  const before = files(directory);
  assert.equal((await planPrune(directory, finished)).remove, []);
  const { digest } = put(directory, 'left over');
  const hex = digest.slice('sha256:'.length);
  writeFileSync(join(directory, 'blobs/sha256', `${'1'.repeat(64)}.doppel-part`), 'half');
  writeFileSync(join(directory, 'index.json.doppel-part'), 'half');
  writeFileSync(join(directory, 'blobs/sha256/README'), 'a note');
  mkdirSync(join(directory, 'blobs/sha512'));
  writeFileSync(join(directory, 'blobs/sha512', 'a'.repeat(128)), 'of another algorithm');
  symlinkSync('/etc/hostname', join(directory, 'blobs/sha256', '2'.repeat(64)));
  const plan = await prune(directory);
  assert.equal(
    plan.remove.map(({ path }) => path).sort(),
    [`blobs/sha256/${'1'.repeat(64)}.doppel-part`, `blobs/sha256/${hex}`, 'index.json.doppel-part'].sort(),
  );
  const others = ['blobs/sha256/README', 'blobs/sha512', `blobs/sha512/${'a'.repeat(128)}`, `blobs/sha256/${'2'.repeat(64)}`];
  assert.equal(files(directory), [...before, ...others].sort());
  await checkWhole(directory);
});

test('whatever the index reaches stays, whoever put it there', async () => {
  const directory = await archive();
  const oci = 'application/vnd.oci.image';
  const docker = 'application/vnd.docker.distribution';
  const leaf = (text: string) => ({ mediaType: 'text/plain', ...put(directory, text) });
  const subject = { mediaType: `${oci}.manifest.v1+json`, ...put(directory, { config: leaf('1'), layers: [leaf('2')] }) };
  const old = { mediaType: `${docker}.manifest.v2+json`, ...put(directory, { config: leaf('3'), layers: [leaf('4')] }) };
  const signature = { ...put(directory, { config: leaf('5'), layers: [leaf('6')], subject }), mediaType: subject.mediaType };
  const list = { mediaType: `${docker}.manifest.list.v2+json`, ...put(directory, { manifests: [old] }) };
  const gone = { ...subject, digest: `sha256:${'9'.repeat(64)}` };
  const orphan = { ...subject, ...put(directory, { config: leaf('7'), layers: [], subject: gone }) };
  name(directory, { mediaType: `${oci}.index.v1+json`, ...put(directory, { manifests: [list, signature] }) });
  name(directory, orphan);
  const before = files(directory);
  put(directory, 'named by nothing');
  assert.is((await prune(directory)).remove.length, 1);
  assert.equal(files(directory), before);
});

test('what cannot be understood keeps everything', async () => {
  for (const [code, spoil] of [
    ['UNKNOWN_CONTENT', (at: string) => name(at, { mediaType: 'application/vnd.news+json', ...put(at, '{}') })],
    [
      'UNKNOWN_CONTENT',
      (at: string) =>
        name(at, { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: `sha512:${'a'.repeat(128)}`, size: 2 }),
    ],
    [
      'ARCHIVE_CORRUPT',
      (at: string) =>
        name(at, { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: `sha256:${'a'.repeat(64)}`, size: 2 }),
    ],
    [
      'ARCHIVE_CORRUPT',
      (at: string) => name(at, { mediaType: 'application/vnd.oci.image.manifest.v1+json', ...put(at, '{"layers": 1}') }),
    ],
    ['ARCHIVE_CORRUPT', (at: string) => writeFileSync(join(at, 'index.json'), '{"manifests": [')],
    ['NOT_AN_ARCHIVE', (at: string) => rmSync(join(at, 'oci-layout'))],
  ] as const) {
    const directory = await archive();
    spoil(directory);
    put(directory, 'left over');
    const before = files(directory);
    assert.is((await refusal(() => prune(directory))).code, code);
    assert.is((await refusal(() => prune(directory, { unfinished: true }))).code, code);
    assert.equal(files(directory), before);
  }
  const file = join(folder, 'file');
  writeFileSync(file, 'x');
  assert.is((await refusal(() => prune(file))).code, 'NOT_AN_ARCHIVE');
});

test('an interrupted capture is left alone unless asked, and one that goes on always', async () => {
  const directory = join(folder, 'interrupted');
  const sink = await DirectorySink.create(directory);
  await sink.put({ mediaType: mediaTypes.segment, digest: `sha256:${'a'.repeat(64)}`, size: 3 }, Buffer.from('one'));
  const error = await refusal(() => prune(directory));
  assert.is(error.code, 'ARCHIVE_UNFINISHED');
  assert.is((await refusal(() => prune(directory, { unfinished: true }))).code, 'ARCHIVE_BUSY');
  assert.is((await refusal(() => DirectorySink.create(directory))).code, 'ARCHIVE_BUSY');
  assert.is(readdirSync(join(directory, 'blobs/sha256')).length, 1);
  await sink.abort();
  assert.is((await prune(directory, { unfinished: true })).remove.length, 1);
  assert.equal(readdirSync(join(directory, 'blobs/sha256')), []);
  await write(sample(), await DirectorySink.create(directory));
  await checkWhole(directory);
});

test('what changed after it was looked at is not touched', async () => {
  const directory = await archive();
  const layer = put(directory, 'not named yet');
  const plan = await planPrune(directory, finished);
  assert.is(plan.remove.length, 1);
  const manifest = put(directory, { config: { mediaType: 'text/plain', ...layer }, layers: [] });
  name(directory, { mediaType: 'application/vnd.oci.image.manifest.v1+json', ...manifest });
  const before = files(directory);
  assert.is((await refusal(() => executePrune(plan, finished))).code, 'PLAN_OUTDATED');
  assert.equal(files(directory), before);
});

test.run();
