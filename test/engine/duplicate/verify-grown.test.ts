/** Parts that --grow made larger are equal when verify is told so; a byte or a file that is off is found. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attachLoop } from '../../fixtures/loop.ts';
import { clone } from './requests.ts';
import { MiB, parts, profileFile, smallSize, tool, writeInto } from './small-disk.ts';
import { assertEqual, compareSmallDisks, differing, edit, flipByte, messages, part, placeOf, verified } from './verified.ts';

const test = suite('verify, grown');
const { folder, source, blank } = compareSmallDisks(test, 'verify-grown');

test('a grown part is compared by its files; larger than on the source without --grow it differs, and the flag is named', async () => {
  const target = blank('grown.img', smallSize + 120 * MiB);
  const as = profileFile(folder);
  await clone(source, target, { as, grow: ['app'] });
  const result = await verified(source, target, { grow: ['app'] });
  assertEqual(result);
  assert.is(part(result, 4).method, 'files');
  assert.equal(result.grown, [
    { number: 4, label: 'partition 4 ("app")', before: parts.app.length, after: smallSize + 119 * MiB - parts.app.offset },
  ]);
  const untold = await verified(source, target);
  assert.equal(differing(untold), [4]);
  assert.match(messages(untold).join('\n'), /partition 4 \("app"\) is larger than on the source, as --grow 4 makes it/);

  const large = placeOf(target, 'a large file that', parts.app.offset) + 100_000;
  flipByte(target, large);
  const flipped = await verified(source, target, { grow: ['app'] });
  assert.equal(differing(flipped), [4]);
  assert.match(part(flipped, 4).paths?.[0]?.path ?? '', '/db/large');
  flipByte(target, large);
  const grown = { offset: parts.app.offset, length: smallSize + 119 * MiB - parts.app.offset };
  edit(target, grown, (root) => writeFileSync(join(root, 'late'), 'late'));
  assert.match(part(await verified(source, target, { grow: ['app'] }), 4).paths?.[0]?.path ?? '', '/late');
});

test('a part that should have grown and did not differs; so does a file system that does not fill its part', async () => {
  const target = blank('not-grown.img', smallSize + 200 * MiB);
  await clone(source, target, { as: 'none' });
  const missed = await verified(source, target, { as: 'none', grow: ['4'] });
  assert.match(messages(missed).join(), 'partition 4 ("app") differs in the table: place');
  tool(
    'sfdisk',
    ['--quiet', '--no-reread', '--no-tell-kernel', '-N', '4', target],
    { input: `size=${(smallSize + 199 * MiB - parts.app.offset) / 512}\n` }.input,
  );
  const hollow = await verified(source, target, { as: 'none', grow: ['4'] });
  assert.equal(messages(hollow), []);
  assert.equal(differing(hollow), [4]);
  assert.match(part(hollow, 4).reason ?? '', /was to fill/);
});

test('grown XFS and btrfs, and a part of which only the entry grows', async () => {
  const disk = blank('kinds.img', 700 * MiB);
  const places = { raw: [MiB, 2 * MiB], data: [11 * MiB, 310 * MiB], tree: [400 * MiB, 150 * MiB] } as const;
  const lines = Object.entries(places).map(([name, [start, size]]) => `start=${start / 512}, size=${size / 512}, name=${name}\n`);
  tool('sfdisk', ['--quiet', disk], `label: gpt\n${lines.join('')}`);
  for (const [type, [offset, length]] of [
    ['xfs', places.data],
    ['btrfs', places.tree],
  ] as const) {
    const loop = attachLoop(disk, { offset, size: length });
    tool(`mkfs.${type}`, ['-q', '-L', type, loop.device]);
    loop.detach();
    edit(
      disk,
      { offset, length },
      (root) => {
        for (let index = 0; index < 30; index++)
          writeFileSync(join(root, `file-${index}`), Buffer.alloc(5000 * index, `${type} ${index} `));
      },
      type,
    );
  }
  writeInto(disk, Buffer.from('raw bytes'), places.raw[0] + 5000);
  const grow = ['xfs', 'raw', 'btrfs'];
  const target = blank('kinds-target.img', 900 * MiB);
  await clone(disk, target, { as: 'none', grow });
  const result = await verified(disk, target, { as: 'none', grow });
  assertEqual(result);
  assert.equal(
    result.parts.map(({ number, method }) => [number, method]),
    [
      [1, 'blocks'],
      [2, 'files'],
      [3, 'files'],
    ],
  );
  for (const [text, number] of [
    ['raw bytes', 1],
    ['xfs 20 xfs 20', 2],
    ['btrfs 20 btrfs 20', 3],
  ] as const) {
    const place = placeOf(target, text, MiB);
    flipByte(target, place);
    const spoilt = await verified(disk, target, { as: 'none', grow });
    assert.equal(differing(spoilt), [number], `${text} at ${place}`);
    flipByte(target, place);
  }
});

test.run();
