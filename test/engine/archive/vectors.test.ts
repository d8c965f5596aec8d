/** The vectors of docs/archive.md are what the program makes. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { contentDigest } from '../../../src/engine/archive/content-digest.ts';
import { decodeLayout, encodeLayout } from '../../../src/engine/archive/layout.ts';
import { encodeRanges } from '../../../src/engine/archive/range-set.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';

const page = readFileSync(new URL('../../../docs/archive.md', import.meta.url), 'utf8');
const vectors = page.slice(page.indexOf('## Test vectors'));
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const MiB = 1 << 20;
const data = IntervalSet.of({ offset: MiB, length: 4096 }, { offset: MiB + 8192, length: MiB });
const zero = IntervalSet.of({ offset: 0, length: 512 });

test('range sets', () => {
  for (const set of [zero, data]) assert.ok(vectors.includes(`\`${hex(encodeRanges(set))}\``), hex(encodeRanges(set)));
});

test('a layout', () => {
  const layout = { segmentSize: 8 * MiB, images: [{ name: 'disk0', size: 16 * MiB, sectorSize: 512, data, zero }], machine: {} };
  const bytes = encodeLayout(layout);
  const [line = ''] = Buffer.from(bytes).toString('latin1').split('\n');
  assert.ok(vectors.includes(line), line);
  const digest = createHash('sha256').update(bytes).digest('hex');
  assert.ok(vectors.includes(digest), digest);
  assert.equal([...(decodeLayout(bytes).images[0]?.data ?? [])], [...data]);
});

test('digests of contents', () => {
  const content = Buffer.from(Array.from({ length: 4096 }, (_, at) => at % 251));
  for (const digest of [contentDigest(content), contentDigest(content, Buffer.alloc(32, 7))])
    assert.ok(vectors.includes(digest), digest);
});

test.run();
