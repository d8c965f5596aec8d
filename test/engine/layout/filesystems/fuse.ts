/** File systems that this kernel may not know, mounted through FUSE. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { execa } from 'execa';

/**
 * Runs `body` while `tool` (ntfs-3g, mount.exfat-fuse) has the image mounted. Returns when the tool has ended: only then
 * everything is written.
 */
export async function fuseMounted<T>(
  tool: readonly string[],
  image: string,
  options: string,
  body: (root: string) => Promise<T>,
): Promise<T> {
  const root = await mkdtemp(join(tmpdir(), 'doppel-fuse-'));
  const [command, ...args] = tool as [string, ...string[]];
  const { dev } = await stat(root);
  const server = execa(command, [...args, ...(options === '' ? [] : ['-o', options]), image, root]);
  let ended = false;
  server.then(
    () => {
      ended = true;
    },
    () => {
      ended = true;
    },
  );
  try {
    while (!ended && (await stat(root)).dev === dev) await setTimeout(10);
    if (ended) await server;
    try {
      return await body(root);
    } finally {
      await execa('umount', [root]);
    }
  } finally {
    await server;
    await rm(root, { recursive: true, force: true });
  }
}

export const ntfs3g = ['ntfs-3g', '-o', 'no_detach'] as const;
/** In the foreground. */
export const exfatFuse = ['mount.exfat-fuse', '-d'] as const;

/** Runs `body` with a loop device over the image. */
export async function onLoop<T>(image: string, body: (device: string) => Promise<T>): Promise<T> {
  const device = (await execa('losetup', ['-f', '--show', image])).stdout;
  try {
    return await body(device);
  } finally {
    await execa('losetup', ['-d', device]);
  }
}
