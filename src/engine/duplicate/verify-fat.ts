/** Compares two FAT file systems file by file, one of them with the changes that the persona has made to it. */
import { createHash } from 'node:crypto';
import type { Change, FileStat } from '../persona/tree.ts';
import { FatTree } from '../persona/trees/fat.ts';
import { parentOf } from '../persona/trees/resolve.ts';
import type { TreeComparison, TreeDifferences } from './verify-files.ts';
import type { Finding } from './verify-path.ts';
import { type PathDifference, shownPaths } from './verify-result.ts';

/** `source` and `target` are block devices that hold the file systems. @throws ToolFailedError, UnusableFileError */
export async function compareFat({ source, target, part, onChunk, signal }: TreeComparison): Promise<TreeDifferences> {
  const from = new FatTree({ device: source, readOnly: true });
  const to = new FatTree({ device: target, readOnly: true });
  const paths: PathDifference[] = [];
  let [files, bytes, pathCount] = [0, 0, 0];

  const compare = async (path: string): Promise<boolean> => {
    const change = part.changes.get(path);
    const [wanted, found] = [await from.lstat(path), await to.lstat(path)];
    const finding = await compareEntry({ path, change, wanted, found, from, to });
    if (finding !== undefined) {
      pathCount += 1;
      const shown = part.mountPoint === '/' ? path : part.mountPoint + path;
      if (paths.length < shownPaths) paths.push({ path: shown, ...finding, byPersona: change !== undefined });
    }
    if (found === undefined) return false;
    files += 1;
    bytes += found.size;
    onChunk?.(found.size);
    return finding === undefined && found.type === 'directory';
  };

  const directories = ['/'];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    const changed = [...part.changes.keys()]
      .filter((path) => parentOf(path) === directory)
      .map((path) => path.slice(path.lastIndexOf('/') + 1));
    const names = new Set([...((await from.list(directory)) ?? []), ...((await to.list(directory)) ?? []), ...changed]);
    for (const name of [...names].sort()) {
      signal?.throwIfAborted();
      const path = directory === '/' ? `/${name}` : `${directory}/${name}`;
      if (await compare(path)) directories.push(path);
    }
  }
  return { files, bytes, paths, pathCount, lost: [] };
}

interface Entry {
  readonly path: string;
  readonly change: Change | undefined;
  readonly wanted: FileStat | undefined;
  readonly found: FileStat | undefined;
  readonly from: FatTree;
  readonly to: FatTree;
}

async function compareEntry({ path, change, wanted, found, from, to }: Entry): Promise<Finding | undefined> {
  const type = change === undefined ? wanted?.type : change.after.type === 'absent' ? undefined : change.after.type;
  if (type === undefined) {
    if (found === undefined) return undefined;
    return { aspect: 'unexpected', detail: `is there, and ${change ? 'the persona removes it' : 'the source has no such file'}` };
  }
  if (found === undefined) return { aspect: 'missing', detail: 'is missing' };
  if (found.type !== type) return { aspect: 'type', detail: `is a ${found.type}, not a ${type}` };
  if (type !== 'file') return undefined;
  if (change?.after.type === 'file') {
    const digest = createHash('sha256').update(change.after.content).digest('hex');
    return digest === (await to.digest(path))
      ? undefined
      : { aspect: 'content', detail: 'does not hold what the persona writes' };
  }
  if (wanted?.size !== found.size) return { aspect: 'size', detail: `has ${found.size} bytes, not ${wanted?.size}` };
  return (await from.digest(path)) === (await to.digest(path))
    ? undefined
    : { aspect: 'content', detail: 'holds something else' };
}
