import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ExitCode } from '../../../src/engine/errors.ts';
import { ImageIoError, UnusableImageError } from '../../../src/engine/image/errors.ts';
import { openSource, openTarget } from '../../../src/engine/image/open.ts';
import { failure } from '../../fixtures/failure.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from './conformance.ts';
import { makeCertificates, makeKey, nbdkitOnPort, silentServer } from './nbd-certificates.ts';
import { nbdkit } from './nbd-servers.ts';
import { start, until } from './processes.ts';

const MiB = 1 << 20;
const certificates = makeCertificates();
const withTls = (folder: string): string[] => ['--tls=require', `--tls-certificates=${folder}`];
const named = (folder: string): string => `tls-certificates=${encodeURIComponent(folder)}`;

/** What a clone does with a server, and that it came through. */
async function writeAndRead(uri: string): Promise<void> {
  const image = await openTarget(uri);
  try {
    await image.write(Buffer.alloc(4096, 9), 0);
    const back = Buffer.alloc(4096);
    await image.read(back, 0);
    assertBytes(back, Buffer.alloc(4096, 9), 'what was written');
  } finally {
    await image.close();
  }
}

test('a server whose certificate the named authority signed for that host is used', async () => {
  const server = await nbdkitOnPort([...withTls(certificates.here), 'memory', '4M']);
  for (const host of ['localhost', '127.0.0.1']) {
    await writeAndRead(`nbds://${host}:${server.port}/?${named(certificates.client)}`);
  }
  await server.stop();
});

test('a certificate of another authority, or for another host, is not taken', async () => {
  const here = await nbdkitOnPort([...withTls(certificates.here), 'memory', '4M']);
  const elsewhere = await nbdkitOnPort([...withTls(certificates.elsewhere), 'memory', '4M']);
  for (const host of ['localhost', '127.0.0.1']) {
    for (const [port, folder] of [
      [here.port, certificates.stranger],
      [elsewhere.port, certificates.client],
      [elsewhere.port, certificates.stranger],
    ] as const) {
      const error = await failure(() => openSource(`nbds://${host}:${port}/?${named(folder)}`));
      assert.instance(error, ImageIoError);
      assert.match(error.message, 'certificate verification');
    }
  }
  await here.stop();
  await elsewhere.stop();
});

test('a server that wants TLS is not talked to without', async () => {
  const server = await nbdkitOnPort([...withTls(certificates.here), 'memory', '4M']);
  assert.instance(await failure(() => openSource(`nbd://localhost:${server.port}/`)), ImageIoError);
  await server.stop();
});

test('nobody is connected to when nothing says how the certificate is to be checked', async () => {
  const server = await silentServer();
  const at = `localhost:${server.port}`;
  const home = process.env.HOME;
  process.env.HOME = tempDir();
  const { client, nothing } = certificates;
  const cases: readonly (readonly [string, RegExp])[] = [
    [`nbds://${at}/?${named(nothing)}`, /no ca-cert\.pem/],
    [`nbds://${at}/?${named(join(nothing, 'missing'))}`, /no ca-cert\.pem/],
    [`nbds://${at}/?tls-certificates=`, /not known/],
    [`nbds://${at}/?TLS-certificates=${client}`, /not known/],
    [`nbds://${at}/?tls-verify-peer=false`, /not known/],
    [`nbds://${at}/?${named(client)}&tls-verify-peer=false`, /twice/],
    [`nbds://${at}/?${named(client)}&${named(nothing)}`, /twice/],
    [`nbds://${at}/?${named(client)};${named(nothing)}`, /twice/],
    [`nbds://${at}/?a=1&${named(client)};tls-certificates=`, /twice/],
    [`nbds+unix:///?socket=/nowhere&${named(client)}`, /nobody could check/],
    ['nbds+unix:///?socket=/nowhere', /nobody could check/],
    [`nbd://${at}/?${named(client)}`, /asks for no TLS/],
    [`nbds://${at}/?tls-psk-file=${makeKey('alice')}`, /does not say which key/],
    [`nbds://${at}/?%zz`, /no URI/],
    [`nbds://[::1]:${server.port}/?${named(client)}`, /IPv6/],
  ];
  try {
    for (const [uri, why] of cases) {
      const error = await failure(() => openSource(uri));
      assert.instance(error, UnusableImageError, uri);
      assert.is(error.exitCode, ExitCode.refused);
      assert.match(error.message, why);
    }
    if (!existsSync('/etc/pki/libnbd/ca-cert.pem')) {
      const error = await failure(() => openSource(`nbds://${at}/disk#2`));
      assert.match(error.message, /no ca-cert\.pem in \S*libnbd/);
      assert.match(error.todo, `nbds://${at}/disk?tls-certificates=`);
    }
    assert.is(server.taken(), 0);
  } finally {
    if (home === undefined) delete process.env.HOME;
    else process.env.HOME = home;
    await server.close();
  }
});

test('the authority that all of libnbd trusts is used when none is named', async () => {
  const folder = '/etc/pki/libnbd';
  if (process.geteuid?.() !== 0 || existsSync(folder)) return;
  const server = await nbdkitOnPort([...withTls(certificates.here), 'memory', '4M']);
  const elsewhere = await nbdkitOnPort([...withTls(certificates.elsewhere), 'memory', '4M']);
  mkdirSync(folder, { recursive: true });
  try {
    writeFileSync(join(folder, 'ca-cert.pem'), readFileSync(join(certificates.client, 'ca-cert.pem')));
    await writeAndRead(`nbds://localhost:${server.port}/`);
    assert.instance(await failure(() => openSource(`nbds://localhost:${elsewhere.port}/`)), ImageIoError);
  } finally {
    rmSync(folder, { recursive: true });
  }
  await server.stop();
  await elsewhere.stop();
});

test('a key that both have proves the server, over TCP and over a socket', async () => {
  const file = makeKey('alice');
  const args = ['--tls=require', `--tls-psk=${file}`, 'memory', '4M'];
  const [tcp, unix] = [await nbdkitOnPort(args), await nbdkit(...args)];
  const key = (path: string): string => `tls-psk-file=${encodeURIComponent(path)}`;
  const socket = encodeURIComponent(unix.socket);
  await writeAndRead(`nbds://alice@localhost:${tcp.port}/?${key(file)}`);
  await writeAndRead(`nbds+unix://alice@/?socket=${socket}&${key(file)}`);
  const other = makeKey('alice');
  for (const uri of [
    `nbds://alice@localhost:${tcp.port}/?${key(other)}`,
    `nbds://bob@localhost:${tcp.port}/?${key(file)}`,
    `nbds+unix://alice@/?socket=${socket}&${key(other)}`,
    `nbds://alice@localhost:${tcp.port}/?${key('/nowhere/keys')}`,
  ]) {
    assert.instance(await failure(() => openSource(uri)), ImageIoError);
  }
  await tcp.stop();
  await unix.stop();
});

test('a server with a certificate is none that has the key', async () => {
  const server = await nbdkitOnPort([...withTls(certificates.here), 'memory', '4M']);
  const uri = `nbds://alice@localhost:${server.port}/?tls-psk-file=${encodeURIComponent(makeKey('alice'))}`;
  assert.instance(await failure(() => openSource(uri)), ImageIoError);
  await server.stop();
});

test('a file system can be made and used in a window behind TLS, and is at the server when the window is closed', async () => {
  const log = join(tempDir(), 'log');
  const key = makeKey('alice');
  const [plain, psk] = [
    await nbdkitOnPort([
      ...withTls(certificates.here),
      '--filter=log',
      '--exportname=a disk, with=all',
      'memory',
      '64M',
      `logfile=${log}`,
    ]),
    await nbdkit('--tls=require', `--tls-psk=${key}`, 'memory', '64M'),
  ];
  for (const uri of [
    `nbds://localhost:${plain.port}/${encodeURIComponent('a disk, with=all')}?${named(certificates.client)}`,
    `nbds+unix://alice@/?socket=${encodeURIComponent(psk.socket)}&tls-psk-file=${encodeURIComponent(key)}`,
  ]) {
    await useWindow(uri);
  }
  const lines = readFileSync(log, 'utf8').split('\n');
  const last = (what: RegExp): number => lines.findLastIndex((line) => what.test(line));
  assert.ok(last(/ Flush /) > last(/ (Write|Zero|Trim) /), 'the last write was flushed');
  for (const server of [plain, psk]) await server.stop();
});

async function useWindow(uri: string): Promise<void> {
  const image = await openTarget(uri);
  const folder = tempDir();
  const range = { offset: 8 * MiB, length: 48 * MiB };
  for (const [readOnly, step] of [
    [false, (device: string) => execFileSync('mkfs.ext4', ['-q', device])],
    [
      false,
      (device: string) => {
        execFileSync('mount', [device, folder]);
        writeFileSync(join(folder, 'file'), Buffer.alloc(5 * MiB, 7));
        execFileSync('umount', [folder]);
      },
    ],
    [true, (device: string) => execFileSync('fsck.ext4', ['-fn', device], { stdio: 'ignore' })],
    [
      true,
      (device: string) => {
        execFileSync('mount', ['-o', 'ro', device, folder]);
        assertBytes(readFileSync(join(folder, 'file')), Buffer.alloc(5 * MiB, 7), 'the file');
        execFileSync('umount', [folder]);
      },
    ],
  ] as const) {
    const window = await image.openWindow(range, { readOnly });
    try {
      step(window.device);
    } finally {
      await window.close();
    }
  }
  await image.close();
}

test('a window is not opened when the server has got a bad certificate meanwhile', async () => {
  const server = await nbdkitOnPort([...withTls(certificates.here), 'memory', '4M']);
  const image = await openTarget(`nbds://localhost:${server.port}/?${named(certificates.client)}`);
  await server.stop('SIGKILL');
  const args = [
    '--foreground',
    '--ipaddr=127.0.0.1',
    `--port=${server.port}`,
    ...withTls(certificates.elsewhere),
    'memory',
    '4M',
  ];
  const other = start('nbdkit', ...args);
  await until('it listens', () => canConnect(server.port));
  const error = await failure(() => image.openWindow({ offset: 0, length: MiB }, { readOnly: false }));
  assert.instance(error, ImageIoError);
  assert.match(error.message, /[Cc]ertificate/);
  await image.close();
  await other.stop();
});

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

test.run();
