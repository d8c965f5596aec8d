import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DoppelError } from '../../../src/engine/errors.ts';
import { decodeBundle, encodeBundle, makeBundle } from '../../../src/engine/profile/bundle.ts';
import { findRegions } from '../../../src/engine/profile/carriers/find.ts';
import { readContainer } from '../../../src/engine/profile/container.ts';
import { writeContainer } from '../../../src/engine/profile/container-write.ts';
import { diagnosticCodes } from '../../../src/engine/profile/diagnostic.ts';
import { checkProfile } from '../../../src/engine/profile/load.ts';
import { shippedProfiles } from '../../../src/engine/profile/search.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { MemoryDisk, targetId } from './memory-disk.ts';
import { head, load } from './support.ts';

/** xorshift32: the same numbers every time, so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Only errors of our own may come out; what comes out otherwise is a result. */
async function typedOnly<T>(run: () => Promise<T> | T, seed: number): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof DoppelError) return undefined;
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`);
  }
}

const region: Region = { offset: 4096, length: 49_152, carrier: 'raw', name: 'raw range at 4096' };

test('mutated containers: a payload that was written, or a typed error', async () => {
  const start = new MemoryDisk(65_536);
  const payloads = ['first', 'second'].map((text) => new TextEncoder().encode(text));
  for (const payload of payloads) await writeContainer(start, region, payload, { targetId });
  const headers = [4096, 4096 + 24_576];
  let errors = 0;
  for (let seed = 1; seed <= 4000; seed++) {
    const next = random(seed);
    const disk = new MemoryDisk(start.size);
    disk.bytes.set(start.bytes);
    for (let change = 0; change <= next(6); change++) {
      const at = (headers[next(2)] as number) + next(next(3) === 0 ? 8192 : 188);
      disk.bytes[at] = next(256);
    }
    // Half of them with a CRC that is right, so that the fields themselves are what is looked at.
    if (next(2) === 0) {
      for (const at of headers) {
        new DataView(disk.bytes.buffer).setUint32(at + 508, crc32(disk.bytes.subarray(at, at + 508)), true);
      }
    }
    const read = await typedOnly(() => readContainer(disk, region), seed);
    if (read === undefined) errors++;
    else
      assert.ok(
        payloads.some((payload) => Buffer.compare(payload, read.payload) === 0),
        `seed ${seed}`,
      );
    await typedOnly(() => writeContainer(disk, region, new Uint8Array(100), { targetId }), seed);
    await typedOnly(() => findRegions(disk, undefined), seed);
  }
  assert.ok(errors > 100, `${errors} errors`);
});

test('random bytes are no container', async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const next = random(seed);
    const disk = new MemoryDisk(65_536);
    for (let at = 4096; at < 53_248; at++) disk.bytes[at] = next(256);
    assert.is(await typedOnly(() => readContainer(disk, region), seed), undefined);
  }
});

test('mutated bundles: the compressed bytes, and the JSON inside', async () => {
  const text = await readFile(join(shippedProfiles(), 'example-web.yaml'), 'utf8');
  const bundle = await makeBundle(await load(`${text}\n`.replace('identity:', 'identity:\n  sshHostKeys: {types: [ed25519]}')));
  const bytes = encodeBundle(bundle);
  const json = Buffer.from(JSON.stringify(bundle));
  const pieces = ['"', '{', '}', '[', ']', ',', ':', 'null', '-1', '1e999', '\\u0000', '../', '\n', '__proto__', 'é', '\xff'];
  for (let seed = 1; seed <= 3000; seed++) {
    const next = random(seed);
    const packed = bytes.slice(0, next(4) === 0 ? next(bytes.length) : bytes.length);
    for (let change = 0; change <= next(4); change++) if (packed.length > 0) packed[next(packed.length)] = next(256);
    await typedOnly(() => decodeBundle(packed), seed);
    const inner = json.toString('latin1').split('');
    for (let change = 0; change <= next(4); change++)
      inner.splice(next(inner.length), next(12), pieces[next(pieces.length)] as string);
    if (seed % 4 === 0)
      await typedOnly(() => decodeBundle(deflateSync(Buffer.from(inner.join(''), 'latin1'), { level: 1 })), seed);
  }
});

/** Anything JSON can say, of small size. */
function value(next: (below: number) => number, depth = 0): unknown {
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
    '\u0000',
  ];
  const kind = next(depth > 2 ? 5 : 8);
  if (kind < 5) return scalars[next(scalars.length)];
  if (kind === 5) return Array.from({ length: next(4) }, () => value(next, depth + 1));
  return Object.fromEntries(Array.from({ length: next(4) }, () => [keys[next(keys.length)], value(next, depth + 1)]));
}
const keys =
  'host identity hostname network ethernets lan0 match addresses routes to via role roles web services enable enable+ drivers load options users name hashed_passwd secret write_files path content permissions secrets file vars extends uuids constructor toString kernelCmdline iscsi'.split(
    ' ',
  );

test('profiles of random structure: diagnostics with places, never anything else', async () => {
  for (let seed = 1; seed <= 3000; seed++) {
    const next = random(seed * 7919);
    const top = Object.fromEntries(Array.from({ length: 1 + next(6) }, () => [keys[next(keys.length)], value(next)]));
    const text = JSON.stringify({ apiVersion: 'doppel/v1', host: 'web', ...top }, null, 1);
    const found = await typedOnly(() => checkProfile({ file: 'f.yaml', text }, { secrets: 'skip' }), seed);
    assert.ok(found !== undefined, `seed ${seed}`);
    const lines = text.split('\n');
    for (const d of found) {
      assert.ok(d.code in diagnosticCodes && d.message !== '', `seed ${seed}`);
      if (d.file === 'f.yaml')
        assert.ok(
          d.line >= 1 && d.line <= lines.length && d.column >= 1 && d.column <= (lines[d.line - 1] ?? '').length + 1,
          `seed ${seed}: ${JSON.stringify(d)}`,
        );
    }
  }
});

test('mutated profile text: diagnostics or a profile', async () => {
  const good = await readFile(join(shippedProfiles(), 'example-web.yaml'), 'utf8');
  const pieces = [
    '\t',
    '\n',
    '  ',
    ': ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    '"',
    "'",
    '&a ',
    '*a',
    '!!str ',
    '|',
    '>',
    '%',
    '@',
    '`',
    '#',
    '? ',
    '\u0000',
    '---\n',
    '<<: ',
    '\ud800',
    '{{',
    '}}',
    '\\',
    '+',
    head,
  ];
  for (let seed = 1; seed <= 3000; seed++) {
    const next = random(seed * 104_729);
    let text = good;
    for (let change = 0; change <= next(5); change++) {
      const at = next(text.length);
      text = text.slice(0, at) + pieces[next(pieces.length)] + text.slice(at + next(6));
    }
    const found = await typedOnly(() => checkProfile({ file: 'f.yaml', text }, { secrets: 'skip' }), seed);
    assert.ok(found !== undefined, `seed ${seed}`);
    if (found.length === 0) await typedOnly(() => load(text), seed);
  }
});

test.run();
