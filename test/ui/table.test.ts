import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { colours } from '../../src/ui/style.ts';
import { type Column, facts, table } from '../../src/ui/table.ts';

const columns: readonly Column[] = [{ title: 'Part' }, { title: 'Size', align: 'right' }, { title: 'What', shrink: true }];

test('columns are as wide as their widest cell, numbers stand right, and no line ends in blanks', () => {
  assert.is(
    table(columns, [
      ['1', '32 MiB', 'EFI System'],
      ['10', '8 GiB', ''],
    ]),
    'Part    Size  What\n1     32 MiB  EFI System\n10     8 GiB\n',
  );
});

test('a table wider than the terminal loses characters where it may, and says so', () => {
  const text = table(columns, [['1', '32 MiB', 'a very long description of what this part is good for']], {
    width: 40,
    indent: '  ',
  });
  for (const line of text.trimEnd().split('\n')) assert.ok(line.length <= 40, line);
  assert.match(text, /a very long description…/);
});

test('without a column to shrink the table stays whole', () => {
  assert.match(table([{ title: 'Name' }], [['x'.repeat(100)]], { width: 20 }), /x{100}/);
});

test('wide characters and combining marks are counted as the terminal shows them', () => {
  const [first, second] = table(
    [{ title: '' }, { title: '' }],
    [
      ['日本', '|'],
      ['e\u0301abc', '|'],
    ],
  ).split('\n');
  assert.is(first, '日本  |');
  assert.is(second, 'e\u0301abc  |');
});

test('cells cannot break the table or talk to the terminal', () => {
  const text = table([{ title: 'Name' }, { title: 'B' }], [['evil\nline\u001b[2J', 'b']]);
  assert.is(text.split('\n').length, 3);
  assert.not.match(text, /\u001b/);
});

test('facts have no heading', () => {
  assert.is(
    facts([
      ['Model', 'QEMU'],
      ['Size', '8 GiB'],
    ]),
    'Model  QEMU\nSize   8 GiB\n',
  );
});

test('NO_COLOR outranks FORCE_COLOR; a pipe and a dumb terminal have no colours', () => {
  assert.is(colours('stdout', { FORCE_COLOR: '1' }), true);
  assert.is(colours('stdout', { FORCE_COLOR: '1', NO_COLOR: '1' }), false);
  assert.is(colours('stdout', { FORCE_COLOR: '1', NO_COLOR: '' }), true);
  assert.is(colours('stdout', { FORCE_COLOR: '0' }), false);
  assert.is(colours('stdout', { TERM: 'dumb' }), false);
});

test.run();
