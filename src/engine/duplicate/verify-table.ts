/** Whether a target's table holds what a clone brings in. Pure. */
import type { PartitionTable, TableEntry } from '../layout/contract.ts';
import { isMarker } from '../layout/fence-table.ts';
import { bootCodeSize } from '../layout/mbr.ts';
import { entryRange } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import { profilePartitionType } from '../layout/types.ts';
import type { Disk } from './disk.ts';
import { isChosen, type KindChoice } from './plan-table.ts';
import type { DiskDifference } from './verify-result.ts';

type Partitioned = Disk & { readonly table: PartitionTable };

/** The entries of the source that a clone brings in; `rest` are its own profile, markers and skipped kinds. */
export function broughtIn(source: Partitioned, choice: KindChoice): { brought: TableEntry[]; rest: TableEntry[] } {
  const brought: TableEntry[] = [];
  const rest: TableEntry[] = [];
  for (const entry of source.table.entries) {
    const own = entry.type === profilePartitionType || isMarker(source.table, entry);
    (own || !chosen(source, entry, choice) ? rest : brought).push(entry);
  }
  return { brought, rest };
}

function chosen(disk: Disk, entry: TableEntry, choice: KindChoice): boolean {
  return isChosen(disk.parts.find((part) => part.number === entry.number)?.kind ?? 'application', choice);
}

/** The differences of the table and the boot code, and the numbers of the parts that stand where the source has them. */
export function compareTables(
  source: Partitioned,
  target: Disk,
  choice: KindChoice,
): { readonly differences: readonly DiskDifference[]; readonly comparable: ReadonlySet<number> } {
  const differences: DiskDifference[] = [];
  const comparable = new Set<number>();
  const differ = (message: string, what: DiskDifference['what'] = 'table'): void => void differences.push({ what, message });
  const { table } = target;
  if (table === undefined) {
    differ(`${target.name} has no partition table`);
    return { differences, comparable };
  }
  if (table.kind !== source.table.kind)
    differ(`the table is ${table.kind.toUpperCase()}, not ${source.table.kind.toUpperCase()}`);
  if (table.sectorSize !== source.table.sectorSize)
    differ(`the table counts sectors of ${table.sectorSize} bytes, not ${source.table.sectorSize}`);
  if (table.diskId !== source.table.diskId) differ(`the disk's id is ${table.diskId}, not ${source.table.diskId}`);
  for (const repair of table.repairs.filter((each) => !source.table.repairs.includes(each)))
    differ(`the table is damaged: ${repair}`);

  const { brought } = broughtIn(source, choice);
  for (const entry of brought) {
    const found = table.entries.find(({ number }) => number === entry.number);
    if (found === undefined) {
      differ(`${entryLabel(entry)} is missing`);
      continue;
    }
    const aspects = differingAspects(entry, source.table, found, table);
    if (aspects.length > 0) differ(`${entryLabel(entry)} differs in the table: ${aspects.join(', ')}`);
    if (sameRange(entry, source.table, found, table)) comparable.add(entry.number);
  }
  for (const entry of table.entries) {
    if (entry.type === profilePartitionType || brought.some(({ number }) => number === entry.number)) continue;
    if (chosen(target, entry, choice)) differ(`${entryLabel(entry)} of the target is not in the source's table`);
  }
  const code = (disk: PartitionTable) => disk.mbr.subarray(0, bootCodeSize);
  if (Buffer.compare(code(source.table), code(table)) !== 0)
    differ(`the boot code in the first ${bootCodeSize} bytes differs`, 'boot code');
  return { differences, comparable };
}

function sameRange(a: TableEntry, inA: PartitionTable, b: TableEntry, inB: PartitionTable): boolean {
  const [wanted, found] = [entryRange(a, inA.sectorSize), entryRange(b, inB.sectorSize)];
  return wanted.offset === found.offset && wanted.length === found.length;
}

function differingAspects(a: TableEntry, inA: PartitionTable, b: TableEntry, inB: PartitionTable): string[] {
  return [
    ...(sameRange(a, inA, b, inB) ? [] : ['place']),
    ...(['type', 'guid', 'name', 'attributes'] as const).filter((aspect) => a[aspect] !== b[aspect]),
  ];
}
