/** Containers, bundles and profiles: a payload that was written or an error of ours; diagnostics with places. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import { decodeBundle, encodeBundle, makeBundle, redactBundle } from '../../../src/engine/profile/bundle.ts';
import { findRegions } from '../../../src/engine/profile/carriers/find.ts';
import { readContainer } from '../../../src/engine/profile/container.ts';
import { writeContainer } from '../../../src/engine/profile/container-write.ts';
import { type Diagnostic, diagnosticCodes } from '../../../src/engine/profile/diagnostic.ts';
import { checkProfile, loadProfile } from '../../../src/engine/profile/load.ts';
import { shippedProfiles } from '../../../src/engine/profile/search.ts';
import { placeInSource } from '../../../src/engine/profile/source-place.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { MemoryDisk, targetId } from '../../engine/profile/memory-disk.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { ChangedBytes, SparseBytes } from '../sparse.ts';
import { type FuzzTarget, sound } from '../target.ts';
import { mutateText } from '../text.ts';
import { refusable, simple } from './texts.ts';

const region: Region = { offset: 4096, length: 49_152, carrier: 'raw', name: 'raw range at 4096' };
const payloads = ['first', 'the second'].map((text) => new TextEncoder().encode(text));
const headers = [4096, 4096 + 24_576];

const containerTarget = simple('container', 2500, ['read', 'refused'], async () => {
  const disk = new MemoryDisk(65_536);
  for (const payload of payloads) await writeContainer(disk, region, payload, { targetId });
  const sample = SparseBytes.of(disk.bytes);
  const places = headers.flatMap((offset) => [
    { offset, length: 192 },
    { offset, length: 512 },
    { offset: offset + 4096, length: 64 },
  ]);
  return async (random, log) => {
    const bytes = new ChangedBytes(sample);
    mutate(bytes, random, { places, resize: true });
    const seal = random.below(3);
    for (const at of headers) sealHeader(bytes, at, seal);
    log.push(`seal ${seal}`, ...bytes.log);
    const found = await refusable(() => readContainer(bytes.image(), region));
    await refusable(() => findRegions(bytes.image(), undefined));
    const after = new MemoryDisk(bytes.size);
    after.bytes.set(bytes.get(0, bytes.size));
    const fresh = new TextEncoder().encode('a new payload');
    const written = await refusable(() => writeContainer(after, region, fresh, { targetId }));
    if (written !== undefined) {
      const again = await readContainer(after, region);
      sound(Buffer.compare(again.payload, fresh) === 0 && again.targetId === targetId, 'what was written is read');
    }
    if (found === undefined) return 'refused';
    const ours = payloads.some((payload) => Buffer.compare(payload, found.value.payload) === 0);
    // A payload whose hash was made right again may be anything.
    sound(ours || seal === 2, 'a payload that was never written');
    return 'read';
  };
});

/** 1: the CRC of the header; 2: the hash of the payload as well. */
function sealHeader(bytes: ChangedBytes, at: number, seal: number): void {
  const header = bytes.get(at, 512);
  const length = header.readUInt32LE(24);
  if (seal === 2 && length <= 16_384)
    createHash('sha256')
      .update(bytes.get(at + 4096, length))
      .digest()
      .copy(header, 56);
  if (seal > 0) header.writeUInt32LE(crc32(header.subarray(0, 508)), 508);
  bytes.set(at, header);
}

const bundleWords = [
  'null',
  'true',
  '-1',
  '1e999',
  '""',
  '"../x"',
  '"__proto__"',
  '{}',
  '[]',
  '\\u0000',
  '\\ud800',
  '"secret"',
  '"format":2',
  '"\\n"',
  'generate',
  'keep',
];

const bundleTarget = simple(
  'bundle',
  800,
  ['read', 'refused'],
  async (folder) => {
    const json = await readFile(join(folder, 'bundle.json'), 'utf8');
    const packed = SparseBytes.of(encodeBundle(decodeBundle(deflateSync(json))));
    return async (random, log) => {
      const bytes = random.once(4) ? broken(packed, random, log) : packedText(json, random, log);
      const found = await refusable(() => decodeBundle(bytes));
      if (found === undefined) return 'refused';
      redactBundle(found.value);
      placeInSource(found.value, ['services', 'enable', 0]);
      const again = decodeBundle(encodeBundle(found.value));
      sound(JSON.stringify(again) === JSON.stringify(found.value), 'a bundle is what was stored');
      return 'read';
    };
  },
  async (folder) => {
    const text = (await readFile(join(shippedProfiles(), 'example-web.yaml'), 'utf8')).replace(
      'identity:',
      'identity:\n  sshHostKeys: {types: [ed25519]}',
    );
    const bundle = await makeBundle(await loadProfile({ file: 'f.yaml', text }, { secrets: 'skip' }), { targetId });
    await writeFile(join(folder, 'bundle.json'), JSON.stringify(bundle));
  },
);

function broken(packed: SparseBytes, random: Random, log: string[]): Buffer {
  const bytes = new ChangedBytes(packed);
  mutate(bytes, random, { places: [{ offset: 0, length: packed.size }], resize: true });
  log.push(...bytes.log);
  return bytes.get(0, bytes.size);
}

function packedText(json: string, random: Random, log: string[]): Buffer {
  const text = mutateText(json, random, { words: bundleWords, others: [] }, log);
  log.push(text);
  return deflateSync(Buffer.from(text, random.once(2) ? 'utf8' : 'latin1'), { level: 1 });
}

const yaml = [
  '\t',
  ': ',
  '- ',
  '&a ',
  '*a',
  '!!str ',
  '|\n',
  '>\n',
  '%',
  '@',
  '`',
  '? ',
  '---\n',
  '<<: ',
  '{{',
  '}}',
  '{{ host }}',
  '+',
  'null',
  '~',
  'yes',
  '0x1F',
  '1:2',
  '!!binary ',
  '&a [*a]',
  'extends: [active]\n',
  '__proto__: 1\n',
  'constructor: 1\n',
];
const keys =
  'apiVersion host identity hostname network version ethernets lan0 match addresses routes to via role roles web services enable enable+ drivers load options users name hashed_passwd secret write_files path content permissions secrets file vars extends uuids machineId kernelCmdline iscsi'.split(
    ' ',
  );

/** Text of real profiles with changes, and documents of any structure. */
const profileTarget = simple('profile', 700, ['profile', 'diagnostics'], async () => {
  const names = ['example-web.yaml', 'active.yaml', 'standby.yaml'];
  const samples = await Promise.all(names.map((name) => readFile(join(shippedProfiles(), name), 'utf8')));
  return async (random, log) => {
    const text = random.once(4)
      ? anyDocument(random)
      : mutateText(random.pick(samples), random, { words: [...yaml, ...keys], others: samples }, log);
    log.push(text);
    const base = random.once(4);
    // An answer in any case: the file itself is given, nothing has to be read but what it extends.
    const found = await checkProfile({ file: 'f.yaml', text }, { secrets: 'skip', base });
    checkPlaces(found, text);
    if (found.length > 0 || base) return found.length > 0 ? 'diagnostics' : 'base';
    const loaded = await loadProfile({ file: 'f.yaml', text }, { secrets: 'skip' });
    loaded.locate(['services', 'enable', 0]);
    return 'profile';
  };
});

function checkPlaces(found: readonly Diagnostic[], text: string): void {
  const lines = text.split('\n');
  for (const d of found) {
    sound(d.code in diagnosticCodes && d.message !== '', 'a code that is known, with a message');
    if (d.file !== 'f.yaml') continue;
    const inside = d.line >= 1 && d.line <= lines.length && d.column >= 1 && d.column <= (lines[d.line - 1] ?? '').length + 1;
    sound(inside, `a place outside of the text: ${JSON.stringify(d)}`);
  }
}

function anyDocument(random: Random): string {
  const top = Object.fromEntries(Array.from({ length: 1 + random.below(6) }, () => [random.pick(keys), anyValue(random, 0)]));
  return JSON.stringify({ apiVersion: 'doppel/v1', host: 'web', ...top }, null, 1);
}

const scalars = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 53,
  '',
  'a',
  '../../x',
  '{{ host }}',
  '{{',
  'x'.repeat(300),
  '10.0.0.1/24',
  'fe80::1/64',
  '\u0000',
  '/etc/x',
];

function anyValue(random: Random, depth: number): unknown {
  const kind = random.below(depth > 2 ? 5 : 8);
  if (kind < 5) return random.pick(scalars);
  if (kind === 5) return Array.from({ length: random.below(4) }, () => anyValue(random, depth + 1));
  return Object.fromEntries(Array.from({ length: random.below(4) }, () => [random.pick(keys), anyValue(random, depth + 1)]));
}

export const profileTargets: readonly FuzzTarget[] = [containerTarget, bundleTarget, profileTarget];
