/**
 * What a volume group says of one of its physical volumes: where its extents are, and which of them logical volumes take.
 * Format: lvm2, lib/format_text/import_vsn1.c and the `text_import` functions of the segment types.
 */
import { insist } from '../bytes.ts';
import type { ConfigSection, ConfigValue } from './config.ts';

const sectorBytes = 512;
/** Segment types that stand on physical volumes themselves; all others are made of logical volumes. */
const stripedTypes = ['striped', 'linear'];
const mirrorTypes = ['mirror'];

/** Extents of the physical volume that is asked for. */
export interface Area {
  readonly firstExtent: number;
  readonly extents: number;
}

export interface Segment {
  readonly type: string;
  /** In extents of the logical volume. */
  readonly start: number;
  readonly extents: number;
  /** What it takes of the physical volume. */
  readonly areas: readonly Area[];
  /** It is one piece on this physical volume and nothing else. */
  readonly linear: boolean;
}

export interface LogicalVolume {
  readonly name: string;
  readonly status: readonly string[];
  readonly segments: readonly Segment[];
}

export interface VolumeGroup {
  readonly id: string;
  readonly sequence: number;
  /** Bytes. */
  readonly extentBytes: number;
  /** Byte of the physical volume where its first extent begins. */
  readonly extentsAt: number;
  readonly extents: number;
  readonly volumes: readonly LogicalVolume[];
  /** Every word that a segment names: what is found here is part of something else. */
  readonly named: ReadonlySet<string>;
}

/** @throws NotMappableError when the group does not know the physical volume `uuid`, misses it, or does not make sense. */
export function describeGroup(config: ConfigSection, uuid: string): VolumeGroup {
  const version = config.get('version');
  insist(config.get('contents') === 'Text Format Volume Group' && version === 1, 'the LVM metadata is of an unknown kind');
  const groups = [...config.values()].filter((value) => value instanceof Map);
  insist(groups.length === 1, 'the LVM metadata does not describe one volume group');
  const group = groups[0] as ConfigSection;
  const mine = [...section(group, 'physical_volumes')].filter(([, pv]) => pv instanceof Map && pv.get('id') === uuid);
  insist(mine.length === 1, 'the volume group does not know this physical volume');
  const [pvName, pv] = mine[0] as [string, ConfigSection];
  insist(!words(pv, 'flags').includes('MISSING'), 'the volume group calls this physical volume missing');

  const extents = count(pv, 'pe_count');
  const volumes: LogicalVolume[] = [];
  const named = new Set<string>();
  const logical = group.get('logical_volumes');
  for (const [name, lv] of logical instanceof Map ? logical : []) {
    insist(lv instanceof Map, `the logical volume ${shown(name)} is not described`);
    volumes.push({ name, status: words(lv, 'status'), segments: readSegments(lv, name, pvName, extents, named) });
  }
  insist(count(group, 'extent_size') > 0, 'the volume group has extents of no size');
  return {
    id: String(group.get('id')),
    sequence: count(group, 'seqno'),
    extentBytes: count(group, 'extent_size') * sectorBytes,
    extentsAt: count(pv, 'pe_start') * sectorBytes,
    extents,
    volumes,
    named,
  };
}

function readSegments(lv: ConfigSection, name: string, pvName: string, pvExtents: number, named: Set<string>): Segment[] {
  const segments = [...lv].filter(
    (entry): entry is [string, ConfigSection] => entry[1] instanceof Map && /^segment\d+$/.test(entry[0]),
  );
  const sections = [...lv.values()].filter((value) => value instanceof Map).length;
  insist(
    sections === segments.length && segments.length === count(lv, 'segment_count'),
    `the logical volume ${shown(name)} does not have the segments that it says`,
  );
  return segments.map(([, segment]) => readSegment(segment, name, pvName, pvExtents, named)).sort((a, b) => a.start - b.start);
}

function readSegment(segment: ConfigSection, name: string, pvName: string, pvExtents: number, named: Set<string>): Segment {
  const type = String(segment.get('type'));
  const extents = count(segment, 'extent_count');
  const areas: Area[] = [];
  let pieces = 0;
  for (const [key, value] of segment) {
    const mine = mentions(value, pvName, key === 'type' ? new Set() : named);
    const isPairs = (key === 'stripes' && stripedTypes.includes(type)) || (key === 'mirrors' && mirrorTypes.includes(type));
    insist(
      !mine || isPairs,
      `the logical volume ${shown(name)} uses this physical volume in an unknown way (${shown(key)} of ${shown(type)})`,
    );
    if (!isPairs) continue;
    const pairs = pairsOf(value, name);
    pieces = pairs.length;
    const stripes = key === 'stripes' ? count(segment, 'stripe_count') : 1;
    const length = extents / stripes;
    const sane = (key !== 'stripes' || stripes === pieces) && stripes > 0 && Number.isInteger(length) && length > 0;
    insist(sane, `a segment of the logical volume ${shown(name)} makes no sense`);
    for (const [place, firstExtent] of pairs) {
      if (place !== pvName) continue;
      insist(firstExtent + length <= pvExtents, `the logical volume ${shown(name)} has extents outside this physical volume`);
      areas.push({ firstExtent, extents: length });
    }
  }
  const linear = stripedTypes.includes(type) && pieces === 1 && areas.length === 1;
  return { type, start: count(segment, 'start_extent'), extents, areas, linear };
}

function pairsOf(value: ConfigValue, name: string): [string, number][] {
  const broken = `a segment of the logical volume ${shown(name)} makes no sense`;
  insist(Array.isArray(value) && value.length % 2 === 0 && value.length > 0, broken);
  return Array.from({ length: value.length / 2 }, (_, i) => {
    const [place, extent] = [value[i * 2], value[i * 2 + 1]];
    insist(typeof place === 'string' && Number.isInteger(extent) && (extent as number) >= 0, broken);
    return [place, extent as number];
  });
}

/** Whether the word stands anywhere in the value; all words of it are collected. */
function mentions(value: ConfigValue, word: string, named: Set<string>): boolean {
  if (typeof value === 'string') {
    named.add(value);
    return value === word;
  }
  if (typeof value === 'number') return false;
  let found = false;
  for (const inside of value.values()) found = mentions(inside, word, named) || found;
  return found;
}

/** Names may hold anything: in messages they are short and printable. */
function shown(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, '?').slice(0, 64);
}

function section(parent: ConfigSection, key: string): ConfigSection {
  const value = parent.get(key);
  insist(value instanceof Map, `the LVM metadata has no ${key}`);
  return value;
}

function count(parent: ConfigSection, key: string): number {
  const value = parent.get(key);
  insist(
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 44,
    `the LVM metadata has no sane ${key}`,
  );
  return value;
}

function words(parent: ConfigSection, key: string): string[] {
  const value = parent.get(key) ?? [];
  const list = Array.isArray(value) ? value : [value];
  return list.filter((word) => typeof word === 'string');
}
