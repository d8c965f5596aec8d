import { writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkProfile } from '../../../src/engine/profile/load.ts';
import { check, head, load, withFiles } from './support.ts';

const cases: [string, string, RegExp, string][] = [
  ['an empty file', '', /empty/, '1:1'],
  ['a comment only', '# nothing\n', /empty/, '1:1'],
  ['a list', '- a\n', /mapping/, '1:1'],
  ['a scalar', 'hello\n', /mapping/, '1:1'],
  ['a second document', `${head}---\nhost: x\n`, /second document/, '3:1'],
  ['a control character', `${head}description: "a\u0001b"\n`, /0x01/, '3:16'],
  ['a NUL', `${head}\0`, /0x00/, '3:1'],
  ['a tag', `${head}description: !!binary aGVsbG8=\n`, /tag/, '3:23'],
  ['an unknown tag', `${head}description: !python/object x\n`, /tag/i, '3:14'],
  ['a key that is a mapping', `${head}? {a: b}\n: c\n`, /plain word/, '3:3'],
  ['a null key', `${head}~: x\n`, /plain word/, '3:1'],
  ['__proto__', `${head}__proto__: {role: x}\n`, /__proto__/, '3:1'],
  ['an alias without anchor', `${head}role: *nowhere\n`, /no anchor/, '3:7'],
  ['an alias inside its own anchor', `${head}vars: &a {b: *a}\n`, /no anchor|nested deeper/, '3:14'],
  ['a Windows file with a tab indent', `${head.replaceAll('\n', '\r\n')}vars:\r\n\tb: 1\r\n`, /[Tt]ab/, '4:1'],
];
for (const [name, text, message, place] of cases) {
  test(`${name} is E000 with its place`, async () => {
    const [first, ...rest] = await check(text);
    assert.is(first?.code, 'E000');
    assert.match(first?.message ?? '', message);
    assert.is(`${first?.line}:${first?.column}`, place);
    assert.ok(rest.every((d) => d.code === 'E000'));
  });
}

test('an alias means the same value again, with the place of what it stands for', async () => {
  const { resolved } = await load(`${head}services: {enable: &u [a], mask: []}\nroles: {x: {services: {enable: *u}}}\nrole: x\n`);
  assert.equal(resolved.services.enable, ['a.service']);
});

/** Big and nasty; each must come back (the runner's timeout sees to "soon"), with E000 or as good YAML that fails the schema. */
const bombs: [string, string][] = [
  [
    'billion laughs',
    `${head}vars:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 12 }, (_, i) => `  a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(10)}]\n`).join('')}`,
  ],
  ['deep flow lists', `${head}vars: ${'['.repeat(200_000)}`],
  ['deep closed flow lists', `${head}vars: ${'['.repeat(100_000)}${']'.repeat(100_000)}`],
  ['deep flow mappings', `${head}vars: ${'{a: '.repeat(100_000)}`],
  ['deep block lists', `${head}vars:\n  ${'- '.repeat(200_000)}x\n`],
  ['deep block mappings', Array.from({ length: 1000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
  ['explicit keys', `${'? '.repeat(100_000)}x\n`],
  ['many keys', Array.from({ length: 80_000 }, (_, i) => `k${i}: 1`).join('\n')],
  ['many items', `${head}role: [${'a,'.repeat(300_000)}]\n`],
  ['many anchors', `${head}role: [${'&a 1,'.repeat(100_000)}]\n`],
  ['one long line', `${head}description: ${'x'.repeat(900_000)}\n`],
  ['unclosed quote', `${head}description: "${'x\n'.repeat(200_000)}`],
  ['many documents', '---\n'.repeat(100_000)],
  ['many directives', '%x\n'.repeat(200_000)],
];
for (const [name, text] of bombs) {
  test(`${name}: it comes back, with diagnostics`, async () => {
    const found = await check(text);
    assert.ok(found.length > 0 || name === 'one long line');
  });
}

test('a file over 1 MiB, or not UTF-8, is E000', () =>
  withFiles({ 'large.yaml': `${head}# ${'x'.repeat(1_048_576)}` }, async (directory) => {
    const large = await checkProfile(`${directory}/large.yaml`);
    assert.equal(
      large.map((d) => d.code),
      ['E000'],
    );
    assert.match(large[0]?.message ?? '', /1 MiB/);
    await writeFile(`${directory}/latin.yaml`, Buffer.from(`${head}description: caf\xe9\n`, 'latin1'));
    const [latin] = await checkProfile(`${directory}/latin.yaml`);
    assert.equal([latin?.code, latin?.line, latin?.column], ['E000', 3, 17]);
    await writeFile(`${directory}/bom.yaml`, `\uFEFF${head}`);
    assert.equal(await checkProfile(`${directory}/bom.yaml`), []);
  }));

test('a place lies inside of the text, also behind lines that the parser gave up on', async () => {
  const text = `${head}description: "{{ a }}": "b\n  c\n  d" e\nvars: [\n`;
  const lines = text.split('\n');
  const found = await check(text);
  assert.ok(found.length > 0);
  for (const { line, column } of found) assert.ok(column <= (lines[line - 1] as string).length + 1, `${line}:${column}`);
});

test('half a character, which could not be written as it is, is refused', async () => {
  const found = await check(`${head}write_files: [{path: /a, content: "x\\uD800y"}]\n`);
  assert.equal(
    found.map((d) => `${d.code} ${d.path}`),
    ['E030 write_files[0].content'],
  );
});

test('keys with meaning in JavaScript are only keys', async () => {
  const { resolved } = await load(`${head}drivers: {options: {constructor: {toString: 1}}}\n`);
  assert.is(JSON.stringify(resolved.drivers.options), '{"constructor":{"toString":1}}');
});

test.run();
