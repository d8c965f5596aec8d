/**
 * `npm run demo`: makes the disk of a small server, gives a second disk the profile of another host, clones the first onto it,
 * and shows who each is. What the clone did is then checked with other tools than doppel. With --keep the disks stay.
 */
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { profilePartitionType } from '../src/engine/layout/types.ts';
import { style } from '../src/ui/style.ts';
import { facts, table } from '../src/ui/table.ts';
import { makeServerDisk } from './demo-image.ts';

const here = dirname(fileURLToPath(import.meta.url));
const launcher = join(here, '..', 'bin', 'doppel.js');
const keep = process.argv.includes('--keep');
const folder = mkdtempSync(join(tmpdir(), 'doppel-demo-'));

function heading(text: string): void {
  process.stdout.write(`\n${style('bold', `== ${text}`)}\n`);
}

/** Shows a command line, runs it in the demo's folder, and shows what it prints. */
async function doppel(...args: string[]): Promise<void> {
  process.stdout.write(`\n${style('cyan', `$ doppel ${args.join(' ')}`)}\n`);
  const { exitCode, signal } = await execa(process.execPath, [launcher, ...args], {
    cwd: folder,
    stdio: 'inherit',
    reject: false,
  });
  if (exitCode !== 0) throw new Error(`doppel ${args.join(' ')} ended with ${exitCode ?? signal}`);
}

interface Partition {
  readonly start: number;
  readonly size: number;
  readonly type: string;
}

async function partitions(image: string): Promise<readonly Partition[]> {
  const { stdout } = await execa('sfdisk', ['--json', join(folder, image)], { env: { PATH: toolPath } });
  return JSON.parse(stdout).partitiontable.partitions;
}

const toolPath = `/usr/sbin:/sbin:${process.env.PATH ?? ''}`;
const rootType = '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709';

/** The file's text on the image's root partition, read by debugfs; empty if it is not there. */
async function fileOf(image: string, path: string): Promise<string> {
  const root = (await partitions(image)).find(({ type }) => type === rootType);
  if (root === undefined) return '';
  const { stdout } = await execa('debugfs', ['-R', `cat ${path}`, `${join(folder, image)}?offset=${root.start * 512}`], {
    env: { PATH: toolPath, DEBUGFS_PAGER: 'cat' },
  });
  return stdout;
}

async function fingerprint(image: string): Promise<string> {
  const key = await fileOf(image, '/etc/ssh/ssh_host_ed25519_key.pub');
  const { stdout } = await execa('ssh-keygen', ['-l', '-f', '-'], { input: `${key}\n` });
  return stdout.split(' ')[1] ?? '';
}

async function identity(image: string): Promise<Readonly<Record<string, string>>> {
  const hosts = await fileOf(image, '/etc/hosts');
  return {
    'host name': await fileOf(image, '/etc/hostname'),
    '/etc/hosts': /^127\.0\.1\.1\s+(\S+)/m.exec(hosts)?.[1] ?? '',
    'machine id': await fileOf(image, '/etc/machine-id'),
    'ssh host key': await fingerprint(image),
  };
}

/** SHA-256 of the partition that holds the profile. */
async function regionHash(image: string): Promise<string> {
  const profile = (await partitions(image)).find(({ type }) => type === profilePartitionType);
  if (profile === undefined) throw new Error(`${image} has no profile partition`);
  const bytes = readFileSync(join(folder, image)).subarray(profile.start * 512, (profile.start + profile.size) * 512);
  return createHash('sha256').update(bytes).digest('hex');
}

async function main(): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new Error('The demo mounts the file systems of its disks: run it as root, `sudo npm run demo`.');

  heading('The source: a small Debian server, 512 MiB, with an EFI, a root, a swap and an application partition');
  await makeServerDisk({ path: join(folder, 'source.img') });
  await doppel('inspect', 'source.img');

  heading('The target: an empty disk of the same size, which gets a profile that says it is web-07');
  writeFileSync(join(folder, 'target.img'), '');
  truncateSync(join(folder, 'target.img'), 512 << 20);
  copyFileSync(join(here, 'demo-profile.yaml'), join(folder, 'web-07.yaml'));
  await doppel('profile', 'init', 'target.img', '--yes');
  await doppel('profile', 'write', 'target.img', 'web-07.yaml', '--yes');
  await doppel('profile', 'show', 'target.img');
  const before = await regionHash('target.img');

  heading('The clone');
  await doppel('clone', 'source.img', 'target.img', '--yes');
  await doppel('inspect', 'target.img');
  await doppel('verify', 'source.img', 'target.img');

  heading('What other tools say (sfdisk, debugfs, ssh-keygen, sha256)');
  const [was, is, after] = [await identity('source.img'), await identity('target.img'), await regionHash('target.img')];
  process.stdout.write(
    table(
      [{ title: '' }, { title: 'source.img' }, { title: 'target.img' }],
      Object.keys(was).map((name) => [name, was[name] ?? '', is[name] ?? '']),
    ),
  );
  process.stdout.write(
    `\n${facts([
      ['protected region before', before],
      ['protected region after', after],
    ])}`,
  );

  const same = Object.keys(was).filter((name) => was[name] === is[name] || is[name] === '');
  if (is['host name'] !== 'web-07' || same.length > 0)
    throw new Error(`The target is not itself: ${same.join(', ') || 'host name'}.`);
  if (before !== after) throw new Error('The protected region changed.');
  process.stdout.write('\nThe target has the source’s system and data, and is itself.\n');
}

try {
  await main();
} catch (error) {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  if (keep) process.stdout.write(`The disks are in ${folder}\n`);
  else rmSync(folder, { recursive: true, force: true });
}
