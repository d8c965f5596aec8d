/** NBD servers and disks in foreign formats for tests. Undone when the process ends. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { tempDir } from '../../fixtures/temp.ts';
import { sparseFile } from './places.ts';
import { isListening, type Running, start, until } from './processes.ts';

export interface Server extends Running {
  readonly uri: string;
  readonly socket: string;
}

/** nbdkit on a private socket; `args` are filters, plugin and parameters. */
export async function nbdkit(...args: readonly string[]): Promise<Server> {
  const socket = join(tempDir(), 'socket');
  const running = start('nbdkit', '--foreground', '--unix', socket, ...args);
  await until('nbdkit listens', () => isListening(socket));
  return { ...running, socket, uri: `nbd+unix:///?socket=${encodeURIComponent(socket)}` };
}

/** A disk in `format` that holds `content` and ends up sparse. */
export function diskFile(format: string, content: Uint8Array, options: readonly string[] = []): string {
  const folder = tempDir();
  const raw = sparseFile(folder, 0, 'raw');
  execFileSync('dd', ['status=none', 'conv=sparse', 'bs=4k', `of=${raw}`], { input: content });
  execFileSync('truncate', [`--size=${content.length}`, raw]);
  const path = join(folder, `disk.${format}`);
  const more = options.length === 0 ? [] : ['-o', options.join(',')];
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', format, ...more, raw, path]);
  rmSync(raw);
  return path;
}

/** What QEMU reads from a disk file. */
export function contentOf(path: string, format: string): Buffer {
  const raw = `${path}.content`;
  execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', path, raw]);
  const content = execFileSync('cat', [raw], { maxBuffer: 1 << 28 });
  rmSync(raw);
  return content;
}
