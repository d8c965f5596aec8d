import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { punchHole, SystemCallError, seekData } from '../../../src/engine/native/libc.ts';
import { tempDir } from '../../fixtures/temp.ts';

const PAGE = 4096;
const folder = tempDir();

test('any number of calls can be asked for at once, more than koffi takes, and each has its own end', async () => {
  const file = await open(join(folder, 'pages'), 'w+');
  try {
    await file.write(Buffer.alloc(3000 * PAGE, 1));
    const holes = Array.from({ length: 3000 }, (_, page) => punchHole(file.fd, page * PAGE, PAGE));
    const wrong = Array.from({ length: 20 }, () => punchHole(-1, 0, PAGE).catch((error: unknown) => error));
    await Promise.all(holes);
    for (const error of await Promise.all(wrong)) {
      assert.instance(error, SystemCallError);
      assert.is((error as SystemCallError).errnoName, 'EBADF');
    }
    assert.is(seekData(file.fd, 0), undefined);
  } finally {
    await file.close();
  }
});

test.run();
