/** The same machine a month later: some packages upgraded, logs grown, pages of a database rewritten. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { noise } from '../scripts/demo-image/noise.ts';
import { attachLoop, mount } from '../test/fixtures/loop.ts';
import { partsOf } from './parts.ts';

const PAGE = 8192;

/** Makes `to` from `from`; answers `to`. */
export function ageImage(from: string, to: string): string {
  execFileSync('cp', ['--sparse=always', from, to]);
  for (const { type, offset, size } of partsOf(to).filter((part) => part.type === 'ext4' || part.type === 'xfs')) {
    const loop = attachLoop(to, { offset, size });
    const mounted = mount(loop.device, type, type === 'xfs' ? 'rw,nouuid' : 'rw');
    age(mounted.path);
    mounted.unmount();
    loop.detach();
  }
  execFileSync('sync', [to]);
  return to;
}

function age(root: string): void {
  const files = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const [index, path] of files.entries()) {
    const { size, mode } = statSync(path);
    if (path.includes('/var/log/')) appendFileSync(path, 'a line of another day\n'.repeat(5000));
    else if (size > 256 * PAGE && !path.startsWith(join(root, 'usr'))) rewritePages(path, size);
    else if (index % 25 === 0) upgrade(path, mode);
  }
}

/** As dpkg does: a new file takes the name of the old. */
function upgrade(path: string, mode: number): void {
  const old = readFileSync(path);
  writeFileSync(`${path}.new`, Buffer.concat([old, Buffer.from('upgraded')]), { mode });
  renameSync(`${path}.new`, path);
}

/** One page in fifty. */
function rewritePages(path: string, size: number): void {
  const file = openSync(path, 'r+');
  for (let at = 0; at + PAGE <= size; at += 50 * PAGE) writeSync(file, noise(`page ${at}`, PAGE), 0, PAGE, at);
  closeSync(file);
}
