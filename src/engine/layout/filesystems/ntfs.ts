/**
 * Which bytes NTFS uses: from $Bitmap of a volume that is neither dirty nor hibernated and whose log is empty; and everything
 * behind the last cluster, where the copy of the boot sector stands.
 * Format: the NTFS documentation of the Linux-NTFS project.
 */
import type { ImageSource } from '../../image/contract.ts';
import type { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, FileSystemState, UsedBlocks } from '../contract.ts';
import { chunkSize, insist, mapped, NotMappableError, peek, text16 } from './bytes.ts';
import { scanSetBits, UsedCollector } from './collect.ts';
import { type NtfsShape, parseBootSector } from './ntfs/boot-sector.ts';
import { isHibernated } from './ntfs/hibernation.ts';
import { whyLogUnclean } from './ntfs/log.ts';
import { attributeType } from './ntfs/record.ts';
import type { Stream } from './ntfs/stream.ts';
import { mirroredRecords, NtfsVolume, systemFile } from './ntfs/volume.ts';

const knownVersions = ['1.2', '3.0', '3.1'];
/** Bits of the volume's flags. */
const flag = { dirty: 0x1, upgrade: 0x4, journalDeletion: 0x10, checking: 0x4000 } as const;
/** Together with: the log wants another size, mounted by NT 4, object ids to be repaired, changed by chkdsk. */
const knownFlags = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x4000 | 0x8000;

export const ntfs: FileSystemReader = {
  types: ['ntfs'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const shape = await readShape(part);
    if (shape === undefined) return undefined;
    const { label, state } = await look(part, shape);
    return { type: 'ntfs', uuid: shape.serial, label, size: Math.min(shape.size, part.size), state };
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const shape = await readShape(part);
      insist(shape !== undefined, 'there is no NTFS boot sector');
      const volume = await NtfsVolume.open(part, shape);
      const finding = await whyUnclean(volume);
      insist(finding === undefined, `the file system is not clean: ${finding?.reason}`);
      return used(volume);
    });
  },
};

async function readShape(part: ImageSource): Promise<NtfsShape | undefined> {
  const sector = await peek(part, 0, 512);
  return sector && parseBootSector(sector);
}

async function look(part: ImageSource, shape: NtfsShape): Promise<{ label: string; state: FileSystemState }> {
  let label = '';
  try {
    const volume = await NtfsVolume.open(part, shape);
    label = await labelOf(volume);
    return { label, state: (await whyUnclean(volume))?.state ?? 'clean' };
  } catch (error) {
    if (error instanceof NotMappableError) return { label, state: 'unknown' };
    throw error;
  }
}

async function labelOf(volume: NtfsVolume): Promise<string> {
  const name = (await volume.find(await volume.record(systemFile.volume), attributeType.volumeName, ''))?.value;
  return name === undefined ? '' : text16(name, 0, name.length);
}

interface Finding {
  readonly state: FileSystemState;
  readonly reason: string;
}

/** Signs of hibernation come first: a hibernated volume may be dirty as well. @throws NotMappableError when it cannot be told. */
async function whyUnclean(volume: NtfsVolume): Promise<Finding | undefined> {
  if (await isHibernated(volume)) {
    return { state: 'hibernated', reason: 'a hibernated Windows lies in it (or one shut down with fast startup)' };
  }
  const record = await volume.record(systemFile.log);
  const log = await whyLogUnclean(await volume.stream(record, attributeType.data, '', '$LogFile'));
  const flags = await volumeFlags(volume);
  if (flags & flag.dirty) return { state: 'unclean', reason: 'its dirty flag is set' };
  if (flags & flag.upgrade) return { state: 'unclean', reason: 'it waits for being upgraded' };
  if (flags & flag.journalDeletion) return { state: 'unclean', reason: 'its change journal is being deleted' };
  if (flags & flag.checking) return { state: 'unclean', reason: 'chkdsk did not end' };
  return log === undefined ? undefined : { state: 'unclean', reason: log };
}

async function volumeFlags(volume: NtfsVolume): Promise<number> {
  const found = await volume.find(await volume.record(systemFile.volume), attributeType.volumeInformation, '');
  insist(found?.value !== undefined && found.value.length >= 12, '$Volume does not say its version');
  const version = `${found.value[8]}.${found.value[9]}`;
  insist(knownVersions.includes(version), `NTFS version ${version} is not known`);
  const flags = found.value.readUInt16LE(10);
  insist((flags & ~knownFlags) === 0, `the volume has flags that are not known (0x${flags.toString(16)})`);
  return flags;
}

async function used(volume: NtfsVolume): Promise<IntervalSet> {
  const { part, shape } = volume;
  const data = async (number: number, what: string): Promise<Stream> =>
    volume.stream(await volume.record(number), attributeType.data, '', what);
  const bitmap = await data(systemFile.bitmap, '$Bitmap');
  const enough = Math.ceil(shape.clusters / 8);
  const most = Math.max(Math.ceil(enough / 8) * 8, Math.ceil(enough / shape.clusterBytes) * shape.clusterBytes);
  insist(
    bitmap.size >= enough && bitmap.size <= most && bitmap.initialized >= enough,
    `$Bitmap has ${bitmap.initialized} of ${bitmap.size} bytes for ${shape.clusters} clusters`,
  );
  const collector = new UsedCollector();
  for (let at = 0; at < enough; at += chunkSize) {
    const bytes = await bitmap.read(at, Math.min(chunkSize, enough - at));
    const first = at * 8;
    scanSetBits(bytes, Math.min(bytes.length * 8, shape.clusters - first), (start, length) => {
      collector.add((first + start) * shape.clusterBytes, length * shape.clusterBytes);
    });
  }
  const end = shape.clusters * shape.clusterBytes;
  collector.add(end, part.size - end);
  const map = collector.build();
  insist(map.covers({ offset: 0, length: shape.clusterBytes }), '$Bitmap calls the boot sector free');
  // Whatever was read to get here must be used, and so must what nobody had to read.
  await data(systemFile.mirror, '$MFTMirr');
  for (const stream of volume.streams) {
    for (const range of stream.ranges()) insist(map.covers(range), `$Bitmap calls clusters of ${stream.what} free`);
  }
  const mirror = { offset: shape.mirrorCluster * shape.clusterBytes, length: mirroredRecords * shape.recordBytes };
  insist(map.covers(mirror), '$Bitmap calls the copies of the first records free');
  return map;
}
