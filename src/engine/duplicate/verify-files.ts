/** Compares two mounted file systems file by file, one of them with the changes that the persona has made to it. */
import { type BigIntStats, readdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { Change } from '../persona/tree.ts';
import { parentOf } from '../persona/trees/resolve.ts';
import type { PartChanges } from './persona-parts.ts';
import { type ComparedBlocks, failed, type HostPath } from './verify-content.ts';
import { compareAlike, compareWritten, type Finding, statOf } from './verify-path.ts';
import { type PathDifference, shownPaths } from './verify-result.ts';

export interface TreeComparison {
  /** Absolute paths of the directories where both are mounted, read-only. */
  readonly source: string;
  readonly target: string;
  readonly part: PartChanges;
  /** Spares reading files that lie in the same blocks on both. */
  readonly blocks?: ComparedBlocks;
  /** What the source cannot give is not compared; else it is a difference. */
  readonly tolerant: boolean;
  /** Called with the bytes of each file. */
  readonly onChunk?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface TreeDifferences {
  readonly files: number;
  readonly bytes: number;
  /** The first ones. */
  readonly paths: readonly PathDifference[];
  readonly pathCount: number;
  /** Files whose content the source could not give. */
  readonly lost: readonly string[];
}

/** The calls are synchronous; so often (milliseconds) everybody else gets a turn. */
const TURN = 20;

/** @throws TargetFileError, XattrError */
export async function compareTrees(comparison: TreeComparison): Promise<TreeDifferences> {
  return new TreeWalk(comparison).run();
}

/** Paths inside the part are strings with one character for each byte (latin1), as names need not be UTF-8. */
class TreeWalk {
  readonly #comparison: TreeComparison;
  readonly #changes = new Map<string, Change>();
  /** Names of changed paths by their directory. */
  readonly #changedNames = new Map<string, string[]>();
  readonly #links = new LinkGroups();
  readonly #paths: PathDifference[] = [];
  readonly #differing = new Set<string>();
  readonly #lost: string[] = [];
  #files = 0;
  #bytes = 0;
  #turn = performance.now();

  constructor(comparison: TreeComparison) {
    this.#comparison = comparison;
    for (const [path, change] of comparison.part.changes) {
      const inner = Buffer.from(path, 'utf8').toString('latin1');
      this.#changes.set(inner, change);
      const parent = parentOf(inner);
      this.#changedNames.set(parent, [...(this.#changedNames.get(parent) ?? []), inner.slice(inner.lastIndexOf('/') + 1)]);
    }
  }

  async run(): Promise<TreeDifferences> {
    const directories: string[] = this.#compare('/') ? ['/'] : [];
    for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
      const prefix = directory === '/' ? '/' : `${directory}/`;
      const deeper: string[] = [];
      for (const name of this.#names(directory)) {
        if (this.#compare(prefix + name)) deeper.push(prefix + name);
        if (performance.now() - this.#turn > TURN) await this.#rest();
      }
      directories.push(...deeper.reverse());
    }
    const paths = this.#paths.sort((a, b) => (a.path < b.path ? -1 : 1));
    return { files: this.#files, bytes: this.#bytes, paths, pathCount: this.#differing.size, lost: this.#lost };
  }

  async #rest(): Promise<void> {
    await setImmediate();
    this.#comparison.signal?.throwIfAborted();
    this.#turn = performance.now();
  }

  #host(side: 'source' | 'target', inner: string): HostPath {
    return Buffer.from(this.#comparison[side] + (inner === '/' ? '/.' : inner), 'latin1');
  }

  #names(directory: string): string[] {
    const names = new Set(this.#changedNames.get(directory));
    for (const side of ['source', 'target'] as const) for (const name of this.#list(side, directory)) names.add(name);
    return [...names].sort();
  }

  #list(side: 'source' | 'target', directory: string): string[] {
    const path = this.#host(side, directory);
    try {
      return readdirSync(path, { encoding: 'buffer' }).map((name) => name.toString('latin1'));
    } catch (error) {
      // A directory that the persona made, or made from something else.
      const { code } = error as NodeJS.ErrnoException;
      if (side === 'source' && (code === 'ENOENT' || code === 'ENOTDIR') && this.#changes.has(directory)) return [];
      throw failed(path, error);
    }
  }

  /** True for a directory that is one on the target too, and is to be looked into. */
  #compare(inner: string): boolean {
    const [sourcePath, targetPath] = [this.#host('source', inner), this.#host('target', inner)];
    const [source, target] = [statOf(sourcePath), statOf(targetPath)];
    const change = this.#changes.get(inner);
    const exists = change === undefined ? source !== undefined : change.after.type !== 'absent';
    if (target === undefined || !exists) {
      if (exists) this.#report(inner, [{ aspect: 'missing', detail: 'is missing' }], change);
      else if (target !== undefined)
        this.#report(
          inner,
          [
            {
              aspect: 'unexpected',
              detail: `is there, and ${change ? 'the persona removes it' : 'the source has no such file'}`,
            },
          ],
          change,
        );
      return false;
    }
    this.#files += 1;
    const found = { path: targetPath, stat: target };
    if (change !== undefined) {
      const label = this.#nearestDirectory(inner);
      this.#report(inner, compareWritten(change, found, source && sourcePath, label), change);
    } else if (source !== undefined) {
      const { findings, lost } = compareAlike({ path: sourcePath, stat: source }, found, this.#comparison.blocks);
      if (lost && this.#comparison.tolerant) this.#lost.push(this.#shown(inner));
      else if (lost) findings.push({ aspect: 'content', detail: 'cannot be compared: the source cannot be read (EIO)' });
      if (!this.#links.agree(source, target))
        findings.push({ aspect: 'hard links', detail: 'is not the same file under the same other names' });
      this.#report(inner, findings, change);
    }
    if (target.isFile()) {
      this.#bytes += Number(target.size);
      this.#comparison.onChunk?.(Number(target.size));
    }
    return target.isDirectory() && (change === undefined ? source?.isDirectory() === true : change.after.type === 'directory');
  }

  /** Of the source: the persona may have made those in between, with the same label. */
  #nearestDirectory(inner: string): HostPath {
    let directory = parentOf(inner);
    while (directory !== '/' && statOf(this.#host('source', directory)) === undefined) directory = parentOf(directory);
    return this.#host('source', directory);
  }

  #shown(inner: string): string {
    const { mountPoint } = this.#comparison.part;
    const at = mountPoint === '/' ? '' : mountPoint;
    return at + (inner === '/' && at !== '' ? '' : Buffer.from(inner, 'latin1').toString('utf8'));
  }

  #report(inner: string, findings: readonly Finding[], change: Change | undefined): void {
    const [finding] = findings;
    if (finding === undefined) return;
    this.#differing.add(inner);
    const path = this.#shown(inner);
    for (const each of findings)
      if (this.#paths.length < shownPaths) this.#paths.push({ path, ...each, byPersona: change !== undefined });
  }
}

/** Whether files that are one under several names are one on the other side too. Both numberings are the file systems' own. */
class LinkGroups {
  readonly #bySource = new Map<bigint, bigint>();
  readonly #byTarget = new Map<bigint, bigint>();

  agree(source: BigIntStats, target: BigIntStats): boolean {
    if (!source.isFile() || !target.isFile() || (source.nlink === 1n && target.nlink === 1n)) return true;
    const [there, here] = [this.#bySource.get(source.ino), this.#byTarget.get(target.ino)];
    if (there === undefined && here === undefined) {
      this.#bySource.set(source.ino, target.ino);
      this.#byTarget.set(target.ino, source.ino);
      return true;
    }
    return there === target.ino && here === source.ino;
  }
}
