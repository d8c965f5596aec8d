/** Looks into disk images with other tools than doppel: kernel mounts, sfdisk, systemctl. */
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { checksumCommand } from '../fixtures/bootable-server-files.ts';
import { attachLoop, mount } from '../fixtures/loop.ts';

const toolPath = `/usr/sbin:/sbin:${process.env.PATH ?? ''}`;

/** GPT types of root on x86-64 and of Linux data, of the Discoverable Partitions Specification. */
const types = { root: '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709', data: '0FC63DAF-8483-4772-8E79-3D69D8477DE4' } as const;

/** SHA-256 of bytes of a file. */
export async function hashOf(image: string, { offset, length }: { offset: number; length: number }): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(image, { start: offset, end: offset + length - 1 })) hash.update(piece);
  return hash.digest('hex');
}

export interface InsideOptions {
  /** Replay the journal, which writes to the image; default false: the file system is read as it lies there. */
  readonly replay?: boolean;
}

/** Mounts a partition of the image and gives `look` its folder. */
async function inside<T>(
  image: string,
  part: keyof typeof types,
  { replay = false }: InsideOptions,
  look: (folder: string) => T | Promise<T>,
): Promise<T> {
  const { stdout } = await execa('sfdisk', ['--json', image], { env: { PATH: toolPath } });
  const partitions: readonly { start: number; size: number; type: string }[] = JSON.parse(stdout).partitiontable.partitions;
  const found = partitions.find(({ type }) => type === types[part]);
  if (found === undefined) throw new Error(`${image} has no ${part} partition`);
  const loop = attachLoop(image, { offset: found.start * 512, size: found.size * 512, readOnly: !replay });
  const [type, asItIs] = part === 'root' ? ['ext4', 'ro,noload'] : ['xfs', 'ro,norecovery,nouuid'];
  const options = replay ? (part === 'root' ? 'rw' : 'rw,nouuid') : asItIs;
  try {
    const mounted = mount(loop.device, type, options);
    try {
      return await look(mounted.path);
    } finally {
      mounted.unmount();
    }
  } finally {
    loop.detach();
  }
}

/** One checksum over the names, metadata and contents of the application data. */
export function dataChecksum(image: string, options: InsideOptions = {}): Promise<string> {
  return inside(image, 'data', options, async (folder) => {
    const { stdout } = await execa('sh', ['-ec', checksumCommand], { cwd: folder, env: { LC_ALL: 'C' } });
    return stdout.trim();
  });
}

export interface SystemFacts {
  /** Of systemctl is-enabled. */
  readonly units: Readonly<Record<string, string>>;
  readonly defaultTarget: string;
  readonly rootPassword: string;
  readonly file: string;
}

/** What the system on the disk is set to, without running it. */
export function systemFacts(image: string, units: readonly string[], file: string): Promise<SystemFacts> {
  return inside(image, 'root', {}, async (root) => {
    const states: Record<string, string> = {};
    for (const unit of units) {
      const { stdout } = await execa('systemctl', [`--root=${root}`, 'is-enabled', unit], { reject: false });
      states[unit] = stdout.trim();
    }
    const rootPassword = /^root:([^:]*):/m.exec(readFileSync(join(root, 'etc/shadow'), 'utf8'))?.[1] ?? '';
    const defaultTarget = readlinkSync(join(root, 'etc/systemd/system/default.target')).split('/').at(-1) ?? '';
    return { units: states, defaultTarget, rootPassword, file: readFileSync(join(root, file), 'utf8') };
  });
}
