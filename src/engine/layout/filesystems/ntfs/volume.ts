/**
 * An NTFS volume: finding the records and contents of its files through the master file table.
 * Format: the NTFS documentation of the Linux-NTFS project, "$MFT", "$ATTRIBUTE_LIST", "$Volume".
 */
import type { ImageSource } from '../../../image/contract.ts';
import { insist, readAt, u64le } from '../bytes.ts';
import type { NtfsShape } from './boot-sector.ts';
import { type Attribute, attributeType, type FileRecord, type FileReference, parseRecord, referenceAt } from './record.ts';
import { Stream } from './stream.ts';

/** Numbers of the files that every volume has. */
export const systemFile = { mft: 0, mirror: 1, log: 2, volume: 3, root: 5, bitmap: 6 } as const;

/** Windows allows lists of this length. */
const maxListBytes = 262144;
/** Records that a list of this length can name, at the usual size of a record; of larger ones fewer are followed. */
const maxListed = 16 << 20;
export const mirroredRecords = 4;

export class NtfsVolume {
  readonly part: ImageSource;
  readonly shape: NtfsShape;
  readonly mft: Stream;
  /** Every content in clusters that was looked at so far. */
  readonly streams: Stream[] = [];

  private constructor(part: ImageSource, shape: NtfsShape) {
    this.part = part;
    this.shape = shape;
    this.mft = this.#newStream('$MFT');
  }

  /** @throws NotMappableError when the master file table cannot be read or its first records differ from their copy. */
  static async open(part: ImageSource, shape: NtfsShape): Promise<NtfsVolume> {
    insist(shape.size <= part.size, `the file system has ${shape.size} bytes, more than the part (${part.size} bytes)`);
    const volume = new NtfsVolume(part, shape);
    await volume.#openTable();
    for (let number = 0; number < mirroredRecords; number++) await volume.#compareWithMirror(number);
    return volume;
  }

  /** The record of a file. @throws NotMappableError when it is not in use, torn or outside the table. */
  async record(number: number): Promise<FileRecord> {
    const { recordBytes } = this.shape;
    return parseRecord(await this.mft.read(number * recordBytes, recordBytes), number);
  }

  /** The record that a reference means. @throws NotMappableError when it was used anew since. */
  async refer(reference: FileReference): Promise<FileRecord> {
    const record = await this.record(reference.number);
    insist(record.sequence === reference.sequence, `record ${reference.number} of the master file table was used anew`);
    return record;
  }

  /** The content of an attribute that stands in clusters. @throws NotMappableError when there is none. */
  async stream(file: FileRecord, type: number, name: string, what: string): Promise<Stream> {
    const stream = this.#newStream(what);
    for await (const attribute of this.#extents(file, type, name)) stream.append(attribute);
    return stream.finish();
  }

  /** The first extent of an attribute, wherever it stands; undefined when the file has none. */
  async find(file: FileRecord, type: number, name: string): Promise<Attribute | undefined> {
    for await (const attribute of this.#extents(file, type, name)) return attribute;
    return undefined;
  }

  #newStream(what: string): Stream {
    const stream = new Stream(this.part, this.shape, what);
    this.streams.push(stream);
    return stream;
  }

  async #openTable(): Promise<void> {
    const { part, shape, mft } = this;
    const at = shape.mftCluster * shape.clusterBytes;
    const first = parseRecord(await readAt(part, at, shape.recordBytes, '$MFT'), systemFile.mft);
    // Records that continue the list of runs are reached through the runs before them.
    for await (const attribute of this.#extents(first, attributeType.data, '')) mft.append(attribute);
    mft.finish();
    const [start] = mft.ranges();
    insist(start?.offset === at, '$MFT does not begin where the boot sector says');
  }

  async #compareWithMirror(number: number): Promise<void> {
    const { part, shape } = this;
    const at = shape.mirrorCluster * shape.clusterBytes + number * shape.recordBytes;
    const copy = parseRecord(await readAt(part, at, shape.recordBytes, '$MFTMirr'), number);
    const same = JSON.stringify(copy) === JSON.stringify(await this.record(number));
    insist(same, `record ${number} of the master file table differs from its copy in $MFTMirr`);
  }

  /** All extents of an attribute, in the order of the file. */
  async *#extents(file: FileRecord, type: number, name: string): AsyncIterable<Attribute> {
    const isWanted = (attribute: Attribute): boolean => attribute.type === type && attribute.name === name;
    const list = file.attributes.find((attribute) => attribute.type === attributeType.list);
    if (list === undefined) {
      yield* file.attributes.filter(isWanted);
      return;
    }
    let listed = 0;
    for (const entry of parseList(await this.#listBytes(list, file.number))) {
      if (entry.type !== type || entry.name !== name) continue;
      listed += this.shape.recordBytes;
      insist(listed <= maxListed, `the attribute list of file ${file.number} names too many records`);
      const holder = entry.record.number === file.number ? file : await this.refer(entry.record);
      const own = holder === file || (holder.base?.number === file.number && holder.base.sequence === file.sequence);
      const found = holder.attributes.find((one) => isWanted(one) && (one.extent?.firstVcn ?? 0) === entry.firstVcn);
      insist(own && found !== undefined, `the attribute list of file ${file.number} names what is not there`);
      yield found;
    }
  }

  async #listBytes(list: Attribute, number: number): Promise<Buffer> {
    if (list.value !== undefined) return list.value;
    const stream = this.#newStream(`the attribute list of file ${number}`);
    stream.append(list);
    insist(stream.finish().size <= maxListBytes, `the attribute list of file ${number} has ${stream.size} bytes`);
    return stream.read(0, stream.size);
  }
}

interface ListEntry {
  readonly type: number;
  readonly name: string;
  readonly firstVcn: number;
  readonly record: FileReference;
}

function* parseList(bytes: Buffer): Iterable<ListEntry> {
  for (let at = 0; at + 26 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at + 4);
    const nameAt = at + (bytes[at + 7] as number);
    const nameEnd = nameAt + (bytes[at + 6] as number) * 2;
    insist(length >= 26 && at + length <= bytes.length && nameEnd <= at + length, 'an attribute list makes no sense');
    yield {
      type: bytes.readUInt32LE(at),
      name: bytes.toString('utf16le', nameAt, nameEnd),
      firstVcn: u64le(bytes, at + 8),
      record: referenceAt(bytes, at + 16),
    };
    at += length;
  }
}
