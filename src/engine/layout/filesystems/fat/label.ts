/** The name of a FAT volume: an entry of its root directory. The copy in the boot sector is often stale and not asked. */
import type { ImageSource } from '../../../image/contract.ts';
import { peek } from '../bytes.ts';
import type { FatShape } from './boot-sector.ts';

/** The root directory may go on in other clusters; a label further in is as good as none. */
const maxClusters = 64;
const volumeAttribute = 0x08;
const longNameAttributes = 0x0f;

export async function volumeLabel(part: ImageSource, shape: FatShape): Promise<string> {
  if (shape.bits !== 32) return findLabel(await peek(part, shape.rootStart, shape.rootBytes)) ?? '';
  let cluster = shape.rootCluster;
  for (let count = 0; count < maxClusters && cluster >= 2 && cluster <= shape.clusters + 1; count++) {
    const at = shape.dataStart + (cluster - 2) * shape.clusterBytes;
    const label = findLabel(await peek(part, at, shape.clusterBytes));
    if (label !== undefined) return label;
    const entry = await peek(part, shape.fatStart + cluster * 4, 4);
    if (entry === undefined) return '';
    cluster = entry.readUInt32LE(0) & 0xfffffff;
  }
  return '';
}

/** Empty when the directory ends without one; undefined when it goes on. */
function findLabel(directory: Buffer | undefined): string | undefined {
  if (directory === undefined) return '';
  for (let at = 0; at + 32 <= directory.length; at += 32) {
    const first = directory[at] as number;
    const attributes = directory[at + 11] as number;
    if (first === 0) return '';
    if (first === 0xe5 || (attributes & longNameAttributes) === longNameAttributes) continue;
    if ((attributes & volumeAttribute) !== 0 && (attributes & 0x10) === 0) {
      return directory.toString('latin1', at, at + 11).trimEnd();
    }
  }
  return undefined;
}
