import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NoSuchPartError } from '../../../src/engine/image/errors.ts';
import { parseSpec } from '../../../src/engine/image/spec.ts';
import { sharesStorage } from '../../../src/engine/image/users.ts';
import { tempDir } from '../../fixtures/temp.ts';

const folder = tempDir();
const disk = join(folder, 'disk.img');
const odd = join(folder, 'odd#2');
writeFileSync(disk, Buffer.alloc(4096));
writeFileSync(odd, Buffer.alloc(4096));

test('a path, a URI, and a part of either', async () => {
  assert.equal(await parseSpec(disk), { text: disk, base: { kind: 'path', path: disk } });
  const { base, part } = await parseSpec(`${disk}#2`);
  assert.equal(
    [base, part],
    [
      { kind: 'path', path: disk },
      { by: 'number', number: 2, text: '2' },
    ],
  );
  assert.equal((await parseSpec(`${disk}#label=my root`)).part, { by: 'label', value: 'my root', text: 'label=my root' });
  assert.equal((await parseSpec(`${disk}#PARTUUID=A-1`)).part, { by: 'partuuid', value: 'A-1', text: 'PARTUUID=A-1' });
  const remote = await parseSpec('nbd+unix:///x?socket=/run/s#uuid=A');
  assert.equal(remote.base, { kind: 'nbd', uri: 'nbd+unix:///x?socket=/run/s' });
  assert.equal(remote.part, { by: 'uuid', value: 'A', text: 'uuid=A' });
});

test('a file with # in its name is that file, and may have parts', async () => {
  assert.equal(await parseSpec(odd), { text: odd, base: { kind: 'path', path: odd } });
  assert.equal((await parseSpec(`${odd}#1`)).base, { kind: 'path', path: odd });
  const missing = join(folder, 'missing#1');
  assert.equal(await parseSpec(missing), { text: missing, base: { kind: 'path', path: missing } });
});

test('what names no part is said to be so', async () => {
  for (const part of ['', '0', 'x', 'label=', '-1', '1.5', 'label']) {
    for (const base of [disk, 'nbd://host/export']) {
      try {
        await parseSpec(`${base}#${part}`);
        assert.unreachable(part);
      } catch (error) {
        assert.instance(error, NoSuchPartError);
      }
    }
  }
});

test('a disk and its parts share storage, and so does one export under two names', async () => {
  assert.ok(await sharesStorage(disk, `${disk}#2`));
  assert.ok(await sharesStorage(`${disk}#1`, `${disk}#2`));
  assert.not(await sharesStorage(disk, odd));
  assert.ok(await sharesStorage('nbd://host/a', 'nbds://me@host:10809/a#1'));
  assert.not(await sharesStorage('nbd://host/a', 'nbd://host/b'));
  assert.not(await sharesStorage('nbd://host/a', disk));
  assert.ok(await sharesStorage('nbd+unix:///?socket=/run/a%20b', 'nbd+unix:///?socket=/run/a b'));
});

test.run();
