/** Fingerprints of the protected regions, taken before and after every run. */
import { createHash } from 'node:crypto';
import { RegionChangedError } from '../errors.ts';
import { alignedBuffers } from '../image/aligned.ts';
import type { ImageTarget } from '../image/contract.ts';
import type { Region } from './region.ts';

const STEP = 1 << 20;

/** SHA-256 (hex) of each region, in order, as the medium holds it. */
export async function hashRegions(target: ImageTarget, regions: readonly Region[]): Promise<string[]> {
  if (regions.length === 0) return [];
  const medium = await target.readBack(regions);
  try {
    const [buffer] = alignedBuffers(1, STEP) as [Uint8Array];
    const digests: string[] = [];
    for (const region of regions) {
      const hash = createHash('sha256');
      for (let done = 0; done < region.length; done += STEP) {
        const bytes = buffer.subarray(0, Math.min(STEP, region.length - done));
        await medium.read(bytes, region.offset + done);
        hash.update(bytes);
      }
      digests.push(hash.digest('hex'));
    }
    return digests;
  } finally {
    await medium.close();
  }
}

/** @throws RegionChangedError when a region no longer has the hash that it had. */
export async function checkRegions(target: ImageTarget, regions: readonly Region[], before: readonly string[]): Promise<void> {
  const after = await hashRegions(target, regions);
  const changed = regions.filter((_, index) => after[index] !== before[index]);
  if (changed.length === 0) return;
  throw new RegionChangedError(
    `the protected region changed during the run: ${changed.map((region) => region.name).join(', ')} of ${target.name}`,
    {
      code: 'REGION_CHANGED',
      todo: 'Do not use this target. Write its profile again (doppel profile write), then clone again, and report this: it must never happen.',
      data: { target: target.name, regions: changed, before, after },
    },
  );
}
