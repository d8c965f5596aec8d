/** After ids of partitions changed: the files of the copied system that name them by PARTUUID are rewritten, or it is refused by name. */
import type { GuardedTarget, Window } from '../image/contract.ts';
import { slice } from '../image/slice.ts';
import type { PartitionTable } from '../layout/contract.ts';
import { identifyFileSystem } from '../layout/filesystems.ts';
import { entryRange } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import { findIdReferrers, type IdReferrers } from '../persona/partition-ids.ts';
import type { Change, WritableTree } from '../persona/tree.ts';
import { FatTree } from '../persona/trees/fat.ts';
import type { IdRename } from './adapt-source.ts';
import { CloneRefusedError } from './errors.ts';
import { changesByPart, type PartChanges } from './persona-parts.ts';
import { nothingWritable, type OpenSystem, type SystemPart, withSystem } from './system.ts';

export interface RewritePreview {
  /** Paths of the files that will be rewritten, as the system sees them; those on an ESP that it does not mount begin with the part's label. */
  readonly files: readonly string[];
  /** Numbers of the parts that these lie on. */
  readonly parts: ReadonlySet<number>;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

const espType = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B';

/**
 * What has to be rewritten, seen on the source's parts, which carry their old ids. Writes nothing.
 * @throws CloneRefusedError for files that name an old id and cannot be rewritten
 */
export async function previewRewrite(parts: readonly SystemPart[], renames: readonly IdRename[]): Promise<RewritePreview> {
  if (renames.length === 0) return { files: [], parts: new Set(), notes: [], warnings: [] };
  const files: string[] = [];
  const numbers = new Set<number>();
  const warnings: string[] = [];
  await visit(
    parts,
    renames,
    new Set(),
    async (found, _tree, place) => {
      refuseStuck(found, place.label);
      files.push(...found.changes.map(({ path }) => `${place.label}${path}`));
      for (const number of (await place.byPart(found.changes)).keys()) numbers.add(number);
      warnings.push(...found.unread.map((path) => `${place.label}${path} is too large to look for old PARTUUIDs in it`));
    },
    (reasons) => {
      warnings.push(`no file that names a PARTUUID was looked for: ${reasons.join('; ')}`);
    },
  );
  return { files, parts: numbers, notes: notesOf(renames, files), warnings };
}

function notesOf(renames: readonly IdRename[], files: readonly string[]): string[] {
  const ids = renames.map(({ what, from, to }) => `${what === 'disk' ? 'disk' : 'PARTUUID'} ${from} becomes ${to}`);
  return [
    ...ids,
    files.length === 0 ? 'no file of the system names an old PARTUUID' : `old PARTUUIDs are replaced in ${files.join(', ')}`,
    'an initramfs that was made with old PARTUUIDs inside (resume, crypttab) is not changed: run "update-initramfs -u" or "dracut -f" on the target if one of these goes by PARTUUID',
  ];
}

function refuseStuck({ stuck }: IdReferrers, where: string): void {
  const [first] = stuck;
  if (first === undefined) return;
  throw new CloneRefusedError(
    'IDS_NOT_REWRITABLE',
    `${stuck.map((path) => where + path).join(' and ')} names partitions by PARTUUID and cannot be rewritten: the text is part of a sealed image`,
    'Leave --new-guids away, or let the image name its partitions by UUID= or LABEL= first.',
    { files: stuck },
  );
}

/**
 * The changes that `rewriteIds` makes, seen on parts that carry their old ids: by part number, with paths inside the part.
 * @throws CloneRefusedError for files that name an old id and cannot be rewritten
 */
export async function idChanges(
  parts: readonly SystemPart[],
  renames: readonly IdRename[],
): Promise<ReadonlyMap<number, PartChanges>> {
  const all = new Map<number, PartChanges>();
  if (renames.length === 0) return all;
  const collect: Visitor = async (found, _tree, place) => {
    refuseStuck(found, place.label);
    for (const [number, changes] of await place.byPart(found.changes)) all.set(number, changes);
  };
  await visit(parts, renames, new Set(), collect, () => undefined);
  return all;
}

export interface RewriteTask {
  /** As the disk will have it after the commit, with the new ids. */
  readonly table: PartitionTable;
  readonly renames: readonly IdRename[];
  readonly signal?: AbortSignal;
}

/**
 * Rewrites the files on a target that was copied and flushed, before its persona. Answers their number.
 * @throws CloneRefusedError for files that cannot be rewritten, and what the trees throw
 */
export async function rewriteIds(target: GuardedTarget, { table, renames, signal }: RewriteTask): Promise<number> {
  if (renames.length === 0) return 0;
  const parts = await partsByOldIds(target, table, renames);
  let writable: ReadonlySet<number> = new Set();
  for (;;) {
    let written = 0;
    const missing = new Set<number>();
    await visit(
      parts,
      renames,
      writable,
      async (found, tree, place) => {
        refuseStuck(found, place.label);
        const touched = await place.byPart(found.changes);
        for (const number of touched.keys()) if (!writable.has(number)) missing.add(number);
        if (missing.size > 0) return;
        for (const change of found.changes) {
          signal?.throwIfAborted();
          await tree.put(change.path, change.after);
          written++;
        }
      },
      () => undefined,
    );
    if (missing.size === 0) {
      await target.flush();
      return written;
    }
    writable = new Set([...writable, ...missing]);
  }
}

interface Place {
  /** Before paths: empty for the system. */
  readonly label: string;
  byPart(changes: readonly Change[]): Promise<ReadonlyMap<number, PartChanges>>;
}

type Visitor = (found: IdReferrers, tree: WritableTree, place: Place) => Promise<void>;

/** The system that stands on the parts, then every EFI system partition that it does not mount. */
async function visit(
  parts: readonly SystemPart[],
  renames: readonly IdRename[],
  writable: ReadonlySet<number>,
  visitor: Visitor,
  otherwise: (reasons: readonly string[]) => void,
): Promise<void> {
  const mounted = await withSystem(
    parts,
    writable.size === 0 ? nothingWritable : { writable },
    async (system: OpenSystem) => {
      const found = await findIdReferrers(system.tree, renames);
      await visitor(found, system.tree, { label: '', byPart: (changes) => changesByPart(system, changes) });
      return new Set(system.mounts.map(({ number }) => number));
    },
    async (reasons) => {
      otherwise(reasons);
      return new Set<number>();
    },
  );
  const bare = parts.filter(({ number, entry, fs }) => isEsp(entry?.type) && fs?.type === 'vfat' && !mounted.has(number));
  for (const part of bare) {
    const readOnly = !writable.has(part.number);
    const window: Window = await part.openWindow(part.range, { readOnly });
    try {
      const tree = new FatTree({ device: window.device, readOnly });
      const found = await findIdReferrers(tree, renames, { onEsp: true });
      const byPart = async (changes: readonly Change[]) => new Map(changes.length === 0 ? [] : [[part.number, onEsp(changes)]]);
      await visitor(found, tree, { label: `${part.label}: `, byPart });
    } finally {
      await window.close();
    }
  }
}

function onEsp(changes: readonly Change[]): PartChanges {
  return { mountPoint: '/', changes: new Map(changes.map((change) => [change.path, change])) };
}

function isEsp(type: string | undefined): boolean {
  return type === espType || type === 'EF';
}

/** The files still say the old ids, and mount points are found by these. */
async function partsByOldIds(target: GuardedTarget, table: PartitionTable, renames: readonly IdRename[]): Promise<SystemPart[]> {
  const parts: SystemPart[] = [];
  for (const entry of table.entries) {
    const range = entryRange(entry, table.sectorSize);
    const fs = await identifyFileSystem(slice(target, range));
    const guid = renames.find(({ what, to }) => what === 'part' && to === entry.guid)?.from ?? entry.guid;
    parts.push({
      number: entry.number,
      entry: { ...entry, guid },
      range,
      label: entryLabel(entry),
      openWindow: target.window,
      ...(fs === undefined ? {} : { fs }),
    });
  }
  return parts;
}
