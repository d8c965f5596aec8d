/** What two archives say of their machines, as far as it is not the same. */
import { createHash } from 'node:crypto';
import type { PartitionTable } from '../layout/contract.ts';
import type { Part } from './disk.ts';
import type { ArchivedMachine } from './machine.ts';

export interface DifferingFact {
  /** As `host`, or `part 3: label`. */
  readonly what: string;
  /** Absent where it says nothing of that. */
  readonly old?: string;
  readonly new?: string;
}

export function differingFacts(old: ArchivedMachine, changed: ArchivedMachine): DifferingFact[] {
  const [before, after] = [factsOf(old), factsOf(changed)];
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((what) => {
    const [was, is] = [before.get(what), after.get(what)];
    if (was === is) return [];
    return [{ what, ...(was === undefined ? {} : { old: was }), ...(is === undefined ? {} : { new: is }) }];
  });
}

/** By name, in the order in which they are told. */
function factsOf({ image, disk, kinds }: ArchivedMachine): ReadonlyMap<string, string> {
  const { system, table } = disk;
  const said: (readonly [string, string | number | undefined])[] = [
    ['host', system?.hostname],
    ['system', system?.os.pretty],
    ['machine id', system?.machineId],
    ['kernels', system?.kernels.join(' ')],
    ['init', system?.init],
    ['network', system?.network],
    ['SSH host keys', system?.sshHostKeys.map(({ type, fingerprint }) => `${type} ${fingerprint}`).join(' ')],
    ['fstab', system?.fstab],
    ['disk size', image.size],
    ['sector size', disk.sectorSize],
    ['kinds captured', kinds.only?.join(' ')],
    ['kinds left out', kinds.skip?.join(' ')],
    ...(table === undefined ? [] : tableFacts(table)),
    ...disk.parts.flatMap(partFacts),
  ];
  return new Map(said.flatMap(([what, value]) => (value === undefined || value === '' ? [] : [[what, String(value)] as const])));
}

/** Boot code of a PC ends there; the disk's id and the table of an MBR follow. */
const BOOT_CODE = 440;

function tableFacts({ kind, diskId, firstUsable, lastUsable, mbr, extended, hybrid }: PartitionTable) {
  return [
    ['table', kind],
    ['disk id', diskId],
    ['usable sectors', `${firstUsable} to ${lastUsable}`],
    ['boot code', `sha256:${createHash('sha256').update(mbr.subarray(0, BOOT_CODE)).digest('hex')}`],
    ['extended partition', extended && `${extended.number}: sectors ${extended.firstSector} to ${extended.lastSector}`],
    [
      'hybrid MBR',
      hybrid?.map(({ slot, type, firstSector, lastSector }) => `${slot}: ${type} ${firstSector} to ${lastSector}`).join(', '),
    ],
  ] as const;
}

function partFacts({ number, kind, range, entry, fs, mountPoint }: Part) {
  const facts = [
    ['kind', kind],
    ['offset', range.offset],
    ['size', range.length],
    ['type', entry?.type],
    ['GUID', entry?.guid],
    ['name', entry?.name],
    ['attributes', entry && `0x${entry.attributes.toString(16)}`],
    ['file system', fs?.type],
    ['UUID', fs?.uuid],
    ['label', fs?.label],
    ['state', fs?.state],
    ['mounted on', mountPoint],
  ] as const;
  return facts.map(([what, value]) => [`part ${number}: ${what}`, value] as const);
}
