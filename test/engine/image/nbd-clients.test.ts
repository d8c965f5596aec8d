import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConnectionLostError, ExitCode } from '../../../src/engine/errors.ts';
import { NbdImage } from '../../../src/engine/image/nbd.ts';
import { NbdFewClientsError, NbdSilentError } from '../../../src/engine/image/nbd-errors.ts';
import type { OpenMode } from '../../../src/engine/image/open-image.ts';
import { failure } from '../../fixtures/failure.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from './conformance.ts';
import { silentServer } from './nbd-certificates.ts';
import { nbdkit } from './nbd-servers.ts';
import { isListening, start, until } from './processes.ts';

const MiB = 1 << 20;
const content = Buffer.alloc(4 * MiB, 5);

/** Opened as a server of somebody else, but nobody waits long for it. */
function open(uri: string, mode: OpenMode): Promise<NbdImage> {
  return NbdImage.open(
    {
      name: uri,
      uri,
      patience: { first: 1500, further: 700, unpromised: 500 },
      notes: [],
      lock: async () => true,
      dropCaches: async () => 'none',
      startWriteback: async () => {},
      close: async () => {},
    },
    mode,
  );
}

async function qemuNbd(...args: string[]) {
  const folder = tempDir();
  const [file, socket] = [join(folder, 'disk'), join(folder, 'socket')];
  writeFileSync(file, content);
  const running = start('qemu-nbd', '--persistent', '--format=raw', '--export-name=golden', `--socket=${socket}`, ...args, file);
  await until('qemu-nbd listens', () => isListening(socket));
  return { ...running, file, uri: `nbd+unix:///golden?socket=${encodeURIComponent(socket)}` };
}

async function assertContent(image: NbdImage, expected: Uint8Array): Promise<void> {
  const found = Buffer.alloc(expected.length);
  await Promise.all([0, 1, 2, 3].map((i) => image.read(found.subarray(i * MiB, (i + 1) * MiB), i * MiB)));
  assertBytes(found, expected, 'what is read');
}

test('a server of one client is read, with a note, and opens no window', async () => {
  const server = await qemuNbd('--read-only');
  for (let round = 0; round < 2; round++) {
    const image = await open(server.uri, 'read');
    assert.match(image.notes.join(), '--shared=8');
    await assertContent(image, content);
    const error = await failure(() => image.openWindow({ offset: 0, length: MiB }, { readOnly: true }));
    assert.instance(error, NbdFewClientsError);
    assert.match((error as NbdFewClientsError).todo, /--shared=8 \(-e 8\)/);
    assert.is((error as NbdFewClientsError).exitCode, ExitCode.connectionLost);
    await image.close();
  }
  assert.not.match(readFileSync('/proc/mounts', 'utf8'), 'nbdfuse');
  await server.stop();
});

test('a server of one client is written and read back', async () => {
  const server = await qemuNbd();
  const image = await open(server.uri, 'write');
  await image.write(Buffer.alloc(4 * MiB, 6), 0);
  await image.flush();
  const again = await image.readBack();
  const found = Buffer.alloc(MiB);
  await again.read(found, MiB);
  assertBytes(found, Buffer.alloc(MiB, 6), 'what is read back');
  await again.close();
  await assert.is((await failure(() => again.read(found, 0))).message.includes('closed'), true);
  await image.close();
  await server.stop();
  assertBytes(readFileSync(server.file), Buffer.alloc(4 * MiB, 6), 'the file');
});

test('who comes when the only place is taken is told so, and gets it afterwards', async () => {
  const server = await qemuNbd('--read-only');
  const first = await open(server.uri, 'read');
  const error = await failure(() => open(server.uri, 'read'));
  assert.instance(error, NbdSilentError);
  assert.match((error as NbdSilentError).todo, '--shared=8');
  await first.close();
  const second = await open(server.uri, 'read');
  await assertContent(second, content);
  await second.close();
  await server.stop();
});

test('of a server of few clients a place is left for a window', async () => {
  const server = await qemuNbd('--read-only', '--shared=2');
  const image = await open(server.uri, 'read');
  assert.match(image.notes.join(), 'one is used');
  await assertContent(image, content);
  const window = await image.openWindow({ offset: MiB, length: MiB }, { readOnly: true });
  assertBytes(readFileSync(window.device), content.subarray(0, MiB), 'the window');
  await window.close();
  await image.close();
  await server.stop();
});

test('a server that sends further clients away is used with one connection', async () => {
  const server = await nbdkit('--filter=limit', 'memory', '4M', 'limit=1');
  const image = await open(server.uri, 'write');
  assert.match(image.notes.join(), 'one is used');
  await image.write(content, 0);
  await assertContent(image, content);
  await image.close();
  await server.stop();
});

test('a server of many clients is used with several connections, without a note', async () => {
  const server = await qemuNbd('--shared=8');
  const image = await open(server.uri, 'write');
  assert.equal(image.notes, []);
  const windows = await Promise.all(
    [0, 1, 2].map((i) => image.openWindow({ offset: i * MiB, length: MiB }, { readOnly: false })),
  );
  for (const [i, window] of windows.entries())
    execFileSync('dd', ['if=/dev/zero', 'bs=4k', 'count=1', `of=${window.device}`, `seek=${i}`], { stdio: 'ignore' });
  for (const window of windows) await window.close();
  const expected = Buffer.from(content);
  for (const i of [0, 1, 2]) expected.fill(0, i * MiB + i * 4096, i * MiB + (i + 1) * 4096);
  await assertContent(image, expected);
  await image.close();
  await server.stop();
});

test('a server that takes connections and says nothing is a lost connection', async () => {
  const server = await silentServer();
  const error = await failure(() => open(`nbd://127.0.0.1:${server.port}/`, 'read'));
  assert.instance(error, ConnectionLostError);
  assert.match(error.message, 'nothing came within 1.5 seconds');
  assert.is((error as ConnectionLostError).exitCode, 9);
  assert.is(server.taken(), 1);
  await server.close();
});

test.run();
