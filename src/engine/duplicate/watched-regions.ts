/** The protected regions of a target: their hashes from before the run, which they must have after it. */
import type { ImageTarget } from '../image/contract.ts';
import { checkRegions, hashRegions } from '../protect/hash.ts';
import type { Region } from '../protect/region.ts';
import type { CloneResult } from './result.ts';

export class WatchedRegions {
  readonly #target: ImageTarget;
  #regions: readonly Region[] = [];
  #before: readonly string[] = [];

  constructor(target: ImageTarget) {
    this.#target = target;
  }

  /** From now on these must stay as they are. */
  async watch(regions: readonly Region[]): Promise<void> {
    this.#before = await hashRegions(this.#target, regions);
    this.#regions = regions;
  }

  /** @throws RegionChangedError */
  async check(): Promise<void> {
    await checkRegions(this.#target, this.#regions, this.#before);
  }

  /** SHA-256 (hex) by name. */
  get hashes(): CloneResult['regions'] {
    return this.#regions.map(({ name }, index) => ({ name, sha256: this.#before[index] as string }));
  }
}
