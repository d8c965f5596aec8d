/** What an archive says of a disk: its table, its parts, whose system it is. As JSON, see docs/archive.md. Offsets and lengths are bytes. */
import { z } from 'zod';
import type { ArchivedImage } from '../archive/layout.ts';
import { end } from '../image/contract.ts';
import { type PartitionTable, partKinds } from '../layout/contract.ts';
import { entryRange } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import type { SystemInfo } from '../persona/system.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Contents } from './contents.ts';
import type { Disk, Part } from './disk.ts';
import { isChosen, type KindChoice } from './plan-table.ts';

/** A disk as an archive holds it. */
export interface ArchivedMachine {
  readonly image: ArchivedImage;
  /** With the parts that were captured, and the entries of its table that are theirs. */
  readonly disk: Disk;
  /** By part number. */
  readonly contents: ReadonlyMap<number, Contents>;
  /** What was captured before the first partition. */
  readonly loaders: IntervalSet;
  /** Which kinds were to be captured. */
  readonly kinds: KindChoice;
}

/** It is not as the format says; the message is about it. */
export class MachineError extends Error {}

const count = z.int().min(0);
const bytes = z.base64().transform((text) => new Uint8Array(Buffer.from(text, 'base64')));
const bits = z
  .string()
  .regex(/^0x[0-9a-f]{1,16}$/)
  .transform(BigInt);
const kind = z.enum(partKinds);
const range = z.strictObject({ offset: count, length: count });
const sectors = { firstSector: count, lastSector: count, type: z.string().max(64) };

const tableSchema = z.strictObject({
  kind: z.enum(['gpt', 'mbr']),
  sectorSize: z.union([z.literal(512), z.literal(1024), z.literal(2048), z.literal(4096)]),
  diskId: z.string().max(64),
  firstUsable: count,
  lastUsable: count,
  entries: z
    .array(
      z.strictObject({
        number: z.int().min(1).max(1024),
        ...sectors,
        guid: z.string().max(64),
        name: z.string().max(72),
        attributes: bits,
        recordSector: count.exactOptional(),
      }),
    )
    .max(1024),
  ownRanges: z.array(range).max(4096),
  mbr: bytes,
  array: z.strictObject({ count, size: count }).exactOptional(),
  extended: z.strictObject({ number: count, ...sectors, attributes: bits, bootCode: bytes.exactOptional() }).exactOptional(),
  hybrid: z
    .array(z.strictObject({ slot: count, ...sectors, active: z.boolean() }))
    .max(4)
    .exactOptional(),
});

const systemSchema = z.strictObject({
  os: z.strictObject({
    id: z.string(),
    like: z.array(z.string()),
    version: z.string().exactOptional(),
    pretty: z.string(),
  }),
  hostname: z.string().exactOptional(),
  machineId: z.string().exactOptional(),
  kernels: z.array(z.string()),
  init: z.enum(['systemd', 'openrc', 'sysvinit', 'unknown']),
  network: z.enum(['netplan', 'NetworkManager', 'networkd', 'ifupdown']).exactOptional(),
  fstab: z.string().exactOptional(),
  sshHostKeys: z.array(z.strictObject({ file: z.string(), type: z.string(), fingerprint: z.string() })),
});

const partSchema = z.strictObject({
  number: z.int().min(0).max(1024),
  kind,
  fs: z
    .strictObject({
      type: z.string(),
      uuid: z.string(),
      label: z.string(),
      size: count,
      state: z.enum(['clean', 'unclean', 'hibernated', 'unknown']),
    })
    .exactOptional(),
  mountPoint: z.string().exactOptional(),
  how: z.string(),
  whole: z.boolean(),
});

const machineSchema = z.strictObject({
  kind: z.literal('disk'),
  image: z.string(),
  table: tableSchema.exactOptional(),
  parts: z.array(partSchema).max(1024),
  only: z.array(kind).exactOptional(),
  skip: z.array(kind).exactOptional(),
  system: systemSchema.exactOptional(),
});

/** `contents` are those of the parts that are captured. Gives a JSON value. */
export function encodeMachine(
  image: string,
  { table, parts, system }: Pick<Disk, 'table' | 'parts' | 'system'>,
  contents: ReadonlyMap<number, Pick<Contents, 'how' | 'whole'>>,
  kinds: KindChoice,
): object {
  return {
    kind: 'disk',
    image,
    ...(table === undefined ? {} : { table: encodeTable(table, (number) => contents.has(number)) }),
    parts: parts.flatMap((part) => {
      const found = contents.get(part.number);
      return found === undefined ? [] : encodePart(part, found);
    }),
    ...kinds,
    ...(system === undefined ? {} : { system }),
  };
}

function encodeTable(table: PartitionTable, captured: (number: number) => boolean): object {
  const { kind: type, sectorSize, diskId, firstUsable, lastUsable, entries, ownRanges, mbr, array, extended, hybrid } = table;
  const hex = (attributes: bigint): string => `0x${attributes.toString(16)}`;
  const text = (code: Uint8Array): string => Buffer.from(code).toString('base64');
  return {
    kind: type,
    sectorSize,
    diskId,
    firstUsable,
    lastUsable,
    entries: entries
      .filter(({ number }) => captured(number))
      .map(({ number, firstSector, lastSector, type: entryType, guid, name, attributes, recordSector }) => ({
        number,
        firstSector,
        lastSector,
        type: entryType,
        guid,
        name,
        attributes: hex(attributes),
        ...(recordSector === undefined ? {} : { recordSector }),
      })),
    ownRanges: ownRanges.map(({ offset, length }) => ({ offset, length })),
    mbr: text(mbr),
    ...(array === undefined ? {} : { array: { count: array.count, size: array.size } }),
    ...(extended === undefined
      ? {}
      : {
          extended: {
            number: extended.number,
            firstSector: extended.firstSector,
            lastSector: extended.lastSector,
            type: extended.type,
            attributes: hex(extended.attributes),
            ...(extended.bootCode === undefined ? {} : { bootCode: text(extended.bootCode) }),
          },
        }),
    ...(hybrid === undefined
      ? {}
      : {
          hybrid: hybrid.map(({ slot, firstSector, lastSector, type: entryType, active }) => ({
            slot,
            firstSector,
            lastSector,
            type: entryType,
            active,
          })),
        }),
  };
}

function encodePart({ number, kind: what, fs, mountPoint }: Part, { how, whole }: Pick<Contents, 'how' | 'whole'>): object {
  return {
    number,
    kind: what,
    ...(fs === undefined ? {} : { fs: { type: fs.type, uuid: fs.uuid, label: fs.label, size: fs.size, state: fs.state } }),
    ...(mountPoint === undefined ? {} : { mountPoint }),
    how,
    whole,
  };
}

/** `name` is for messages. @throws MachineError */
export function decodeMachine(value: unknown, images: readonly ArchivedImage[], name: string): ArchivedMachine {
  const parsed = machineSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new MachineError(`has a wrong machine: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { image: imageName, table: read, parts: described, only, skip, system } = parsed.data;
  const image = images.find((each) => each.name === imageName);
  if (image === undefined) throw new MachineError(`has a machine whose disk is ${imageName}, and no such image`);
  const table: PartitionTable | undefined = read && { ...read, repairs: [] };
  if (
    table !== undefined &&
    (table.mbr.length < 512 || table.sectorSize < image.sectorSize || image.size % table.sectorSize !== 0)
  )
    throw new MachineError('has a table that does not fit its disk');
  const kinds = { ...(only === undefined ? {} : { only }), ...(skip === undefined ? {} : { skip }) };
  const contents = new Map<number, Contents>();
  const parts = described.map(({ how, whole, ...part }): Part => {
    const entry = table?.entries.find(({ number }) => number === part.number);
    const place =
      entry === undefined || table === undefined ? { offset: 0, length: image.size } : entryRange(entry, table.sectorSize);
    const isWhole = table === undefined && part.number === 0;
    if ((entry === undefined && !isWhole) || place.length <= 0 || end(place) > image.size || contents.has(part.number))
      throw new MachineError(`has a part ${part.number} that does not fit its table`);
    if (!isChosen(part.kind, kinds)) throw new MachineError(`has a part ${part.number} of a kind that was not captured`);
    const all = IntervalSet.of(place);
    const [data, zero] = [image.data.intersect(all), image.zero.intersect(all)];
    contents.set(part.number, { data, zero, unused: all.subtract(data).subtract(zero), how, whole });
    return {
      ...part,
      range: place,
      ...(entry === undefined ? {} : { entry }),
      label: entry === undefined ? 'the whole disk' : entryLabel(entry),
    };
  });
  const disk: Disk = {
    name,
    size: image.size,
    sectorSize: table?.sectorSize ?? image.sectorSize,
    ...(table === undefined ? {} : { table }),
    unreadableTable: IntervalSet.empty,
    parts,
    regions: [],
    ...(system === undefined ? {} : { system: system satisfies SystemInfo }),
    notes: [],
  };
  const first = Math.min(image.size, ...parts.map((part) => part.range.offset));
  const before = IntervalSet.of({ offset: 0, length: table === undefined ? 0 : first });
  return { image, disk, contents, loaders: image.data.intersect(before), kinds };
}
