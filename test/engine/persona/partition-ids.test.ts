import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { replacer } from '../../../src/engine/persona/partition-ids.ts';

const old = '5EED0000-0002-4000-8000-000000000002';
const fresh = '0A0B0C0D-0002-4000-8000-00000000ABCD';

test('ids are replaced in the case in which they stand, also as systemd escapes them', () => {
  const replace = replacer([{ from: old, to: fresh }]);
  assert.is(replace(`root=PARTUUID=${old.toLowerCase()} ro`), `root=PARTUUID=${fresh.toLowerCase()} ro`);
  assert.is(replace(`PARTUUID="${old}"`), `PARTUUID="${fresh}"`);
  const unit = (id: string) => `dev-disk-by\\x2dpartuuid-${id.toLowerCase().replaceAll('-', '\\x2d')}.device`;
  assert.is(replace(unit(old)), unit(fresh));
});

test('what only looks alike stays', () => {
  const replace = replacer([
    { from: old, to: fresh },
    { from: '5eed0001-01', to: '0badcafe-01' },
  ]);
  for (const text of [
    `${old}0`,
    `a${old}`,
    `${old}-4000`,
    '5eed0001-011',
    'x-5eed0001',
    '12345eed0001-01',
    'UUID=5eed0001-01ab-4000-8000-000000000000',
  ]) {
    assert.is(replace(text), text);
  }
  assert.is(replace('/dev/disk/by-partuuid/5eed0001-01\n'), '/dev/disk/by-partuuid/0badcafe-01\n');
});

test('ids that trade places are replaced once each', () => {
  const replace = replacer([
    { from: '5eed0001-07', to: '5eed0001-06' },
    { from: '5eed0001-06', to: '5eed0001-05' },
  ]);
  assert.is(replace('5eed0001-07 5eed0001-06'), '5eed0001-06 5eed0001-05');
  assert.is(replacer([])('anything'), 'anything');
});

test.run();
