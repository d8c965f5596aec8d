/** Everything that a mounted tree says of its files, as lines to compare. */
import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

/** Path, type, mode, owner, size, times of change, links, target or digest of everything below `root`, then all extended attributes. */
export async function treeOf(root: string): Promise<string[]> {
  const paths = (await readdir(root, { recursive: true })).sort();
  const lines: string[] = [];
  for (const path of paths) {
    const full = join(root, path);
    const stat = await lstat(full, { bigint: true });
    const facts = [stat.mode.toString(8), stat.uid, stat.gid, stat.nlink, stat.mtimeNs, stat.rdev];
    if (stat.isSymbolicLink()) facts.push(await readlink(full));
    if (stat.isFile())
      facts.push(
        stat.size,
        createHash('sha256')
          .update(await readFile(full))
          .digest('hex'),
      );
    lines.push(`${path} ${facts.join(' ')}`);
  }
  const { stdout } = await execa('getfattr', ['--dump', '--recursive', '--no-dereference', '--match=-', '.'], { cwd: root });
  return [...lines, ...stdout.split('\n\n').sort()];
}
