import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { endLease, leasedFolder } from '../../../src/engine/image/leased-folder.ts';
import { tempDir } from '../../fixtures/temp.ts';

const parent = tempDir('leases');
const prefix = join(parent, 'kind-');
const module_ = fileURLToPath(new URL('../../../src/engine/image/leased-folder.ts', import.meta.url));

/** A process that has a folder with a file and a folder in it. */
async function owner(): Promise<{ readonly folder: string; readonly kill: () => Promise<void> }> {
  const code = `import(${JSON.stringify(module_)}).then(async ({ leasedFolder }) => {
    console.log(await leasedFolder(${JSON.stringify(prefix)}));
    setInterval(() => {}, 1000);
  });`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--eval', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout, 'data');
  const folder = String(line).trim();
  writeFileSync(join(folder, 'pid'), '');
  mkdirSync(join(folder, 'disk'));
  return {
    folder,
    async kill() {
      child.kill('SIGKILL');
      await once(child, 'close');
    },
  };
}

test('the folder of a killed process goes when the next one is made, that of a living one stays', async () => {
  const [dead, alive] = [await owner(), await owner()];
  try {
    await dead.kill();
    const folder = await leasedFolder(prefix);
    assert.not(existsSync(dead.folder));
    assert.ok(existsSync(join(alive.folder, 'pid')));
    writeFileSync(join(folder, 'file'), '');
    await endLease(folder);
    assert.not(existsSync(folder));
  } finally {
    await alive.kill();
  }
});

test('what is in folders inside is not touched, and others are left alone', async () => {
  const dead = await owner();
  writeFileSync(join(dead.folder, 'disk', 'raw'), 'maybe mounted');
  await dead.kill();
  mkdirSync(join(parent, 'kind-of-mine'));
  await endLease(await leasedFolder(prefix));
  assert.ok(existsSync(join(dead.folder, 'disk', 'raw')));
  assert.ok(readdirSync(parent).includes('kind-of-mine'));
});

test.run();
