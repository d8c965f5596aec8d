/** What `doppel inspect` prints. */
import type { ArchiveFacts } from '../engine/archive/facts.ts';
import type { InspectedPart, Inspection } from '../engine/duplicate/inspect.ts';
import type { PartitionTable } from '../engine/layout/contract.ts';
import { describeType } from '../engine/layout/kinds.ts';
import { firstLogical } from '../engine/layout/mbr.ts';
import { entryRange } from '../engine/layout/table-space.ts';
import type { SystemInfo } from '../engine/persona/system.ts';
import { describeRegion } from '../engine/profile/carriers/find.ts';
import { secrecyFacts } from './archive-view.ts';
import { formatBytes, printable } from './format.ts';
import { facts, table } from './table.ts';

export type Facts = (readonly [name: string, value: string])[];

export function inspectionText(inspection: Inspection): string {
  const { disk, image, parts, regions, users, notes } = inspection;
  const lines = [
    facts([
      [
        'Image',
        `${image.path} (${describeKind(image)}, ${formatBytes(image.size)}, ${formatBytes(inspection.allocated)} allocated${onDisk(inspection)})`,
      ],
      ...(inspection.archive === undefined ? [] : archiveLines(inspection.archive)),
      ...(inspection.storage?.backing ?? []).map((file) => ['Based on', file] as const),
      ...optional('Model', image.model),
      ...optional('Serial', image.serial),
      ...tableFacts(disk.table),
      ...systemFacts(disk.system),
      ...(disk.incomplete === undefined
        ? []
        : ([['State', `unfinished target of run ${disk.incomplete}: run that clone again`]] as Facts)),
      ...users.map((user) => ['In use', user] as const),
    ]),
    parts.length === 0
      ? 'Nothing was recognised on it.\n'
      : table(
          partColumns,
          parts.map((part) => partRow(part, disk.table?.kind ?? 'gpt')),
        ),
    ...(stateText(parts) === '' ? [] : [stateText(parts)]),
    ...(regions.length === 0 ? [] : [regions.map(regionText).join('')]),
    ...(notes.length === 0 ? [] : [notes.map((note) => `Note: ${note}\n`).join('')]),
  ];
  return lines.join('\n');
}

function archiveLines(archive: ArchiveFacts): Facts {
  return [['Digest', archive.digest], ...secrecyFacts(archive)];
}

/** Only where it says something: raw files take what is allocated. */
function onDisk({ image, storage }: Inspection): string {
  return storage === undefined || image.format === undefined ? '' : `, ${formatBytes(storage.sizeOnDisk)} on disk`;
}

function tableFacts(table: PartitionTable | undefined): Facts {
  if (table === undefined) return [['Table', 'none']];
  const { kind, sectorSize, diskId, extended, hybrid } = table;
  const lines: [string, string][] = [['Table', `${kind.toUpperCase()}, ${sectorSize}-byte sectors, id ${diskId}`]];
  if (extended !== undefined) {
    const { offset, length } = entryRange(extended, sectorSize);
    const logical = table.entries.filter(({ number }) => number >= firstLogical).length;
    const holds = `${logical} logical partition${logical === 1 ? '' : 's'}`;
    lines.push(['Extended', `partition ${extended.number}, ${formatBytes(length)} at ${formatBytes(offset)}, ${holds}`]);
  }
  for (const { slot, type, active, firstSector, lastSector } of hybrid ?? []) {
    const part = table.entries.find((entry) => entry.firstSector === firstSector && entry.lastSector === lastSector);
    const what = type === 'EE' ? 'protective' : part === undefined ? 'no partition of the GPT' : `partition ${part.number}`;
    const flag = active ? ', active' : '';
    lines.push(['Hybrid MBR', `entry ${slot}: ${what}, type ${type}, sectors ${firstSector} to ${lastSector}${flag}`]);
  }
  return lines;
}

function regionText({ region, bundle, generation, problems }: Inspection['regions'][number]): string {
  const role = bundle?.resolved.role === undefined ? '' : `, role ${bundle.resolved.role}`;
  const who = bundle === undefined ? '' : `: ${bundle.resolved.host}${role}, generation ${generation}`;
  return `Profile in ${describeRegion(region)}${who}\n${problems.map((problem) => `  ${problem}\n`).join('')}`;
}

const partColumns = [
  { title: '#', align: 'right' as const },
  { title: 'Kind' },
  { title: 'Type', shrink: true },
  { title: 'File system' },
  { title: 'Label', shrink: true },
  { title: 'Mounted on', shrink: true },
  { title: 'Size', align: 'right' as const },
  { title: 'Used', align: 'right' as const },
];

function partRow(part: InspectedPart, tableKind: 'gpt' | 'mbr'): string[] {
  const type = part.entry === undefined ? 'whole disk' : describeType(tableKind, part.entry.type);
  return [
    part.number === 0 ? '-' : String(part.number),
    part.kind,
    type,
    part.fs?.type ?? '-',
    part.fs?.label || part.entry?.name || '-',
    part.mountPoint ?? '-',
    formatBytes(part.range.length),
    part.used === undefined ? '-' : formatBytes(part.used),
  ];
}

/** What is to be known of a part beyond its row: that it is protected, not clean, or not understood. */
function stateText(parts: readonly InspectedPart[]): string {
  const lines = parts.flatMap((part) => {
    if (part.kind === 'profile') return [[part.number, 'protected']];
    if (part.used === undefined) return [[part.number, `${part.fs?.state ?? 'unknown'}; ${part.how}`]];
    return part.fs === undefined || part.fs.state === 'clean' ? [] : [[part.number, part.fs.state]];
  });
  return lines.map(([number, state]) => `${number === 0 ? 'Disk' : number}: ${printable(String(state))}\n`).join('');
}

export function systemFacts(system: SystemInfo | undefined): Facts {
  if (system === undefined) return [];
  return [
    ['System', `${system.hostname ?? '(no host name)'}: ${system.os.pretty}`],
    ...optional('Machine id', system.machineId),
    ...(system.kernels.length === 0 ? [] : ([['Kernel', system.kernels.join(', ')]] as Facts)),
    ...optional('Network', system.network),
    ...system.sshHostKeys.map(({ type, fingerprint }) => ['SSH host key', `${type} ${fingerprint}`] as const),
  ];
}

export function optional(name: string, value: string | undefined): Facts {
  return value === undefined ? [] : [[name, value]];
}

/** For `--json`. */
export function inspectionDocument(inspection: Inspection): object {
  const { disk, image, archive, storage, parts, regions, users, notes, allocated } = inspection;
  return {
    image: { ...image, ...storage },
    archive,
    table: disk.table && {
      kind: disk.table.kind,
      sectorSize: disk.table.sectorSize,
      diskId: disk.table.diskId,
      firstUsable: disk.table.firstUsable,
      lastUsable: disk.table.lastUsable,
      extended: disk.table.extended && containerDocument(disk.table),
      hybrid: disk.table.hybrid,
    },
    allocated,
    system: disk.system,
    incomplete: disk.incomplete,
    parts: parts.map(({ entry, range, fs, ...part }) => ({
      ...part,
      ...range,
      type: entry?.type,
      guid: entry?.guid,
      name: entry?.name,
      fileSystem: fs,
    })),
    regions: regions.map(({ region, bundle, ...rest }) => ({
      ...region,
      ...rest,
      profile: bundle && {
        host: bundle.resolved.host,
        role: bundle.resolved.role,
        targetId: bundle.targetId,
        written: bundle.written,
        machineId: bundle.generated.machineId,
      },
    })),
    users,
    notes,
  };
}

function containerDocument({ extended, sectorSize }: PartitionTable): object | undefined {
  if (extended === undefined) return undefined;
  const { number, type, attributes } = extended;
  return { number, type, active: attributes !== 0n, ...entryRange(extended, sectorSize) };
}

function describeKind({ kind, format }: Inspection['image']): string {
  if (kind === 'file') return format === undefined ? 'file' : `${format} file`;
  return { archive: 'archive', block: 'block device', nbd: 'NBD server' }[kind];
}
