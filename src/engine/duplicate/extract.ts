/** Writes the disk that is in an archive, or a part of it, to a new image: a clone to a file that gets its name when it is whole. */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Archive } from '../archive/archive.ts';
import { ignoreEvents, type OnEvent, type RunOptions } from '../events.ts';
import { checkCreatable, claimName } from '../image/create.ts';
import { ImageExistsError, openFailed } from '../image/errors.ts';
import { endLease, leasedFolder } from '../image/leased-folder.ts';
import { exists } from '../image/spec.ts';
import { archivedImage } from './archived-source.ts';
import { executeClone } from './execute.ts';
import { planClone } from './make-plan.ts';
import type { CloneResult } from './result.ts';

export interface ExtractResult extends Pick<CloneResult, 'written' | 'verified' | 'seconds'> {
  /** What it was taken from, as the user named it. */
  readonly source: string;
  readonly digest: string;
  /** Bytes of the image. */
  readonly size: number;
}

/** Closes the archive. @throws ImageExistsError, UnusableImageError, and the errors of a clone; nothing stays of the file then */
export async function extractImage(
  archive: Archive,
  file: string,
  { onEvent = ignoreEvents, signal }: RunOptions = {},
): Promise<ExtractResult> {
  const { image, machine } = archivedImage(archive);
  // In whole sectors of the disk already.
  const { size } = machine.image;
  if (await exists(file)) throw new ImageExistsError(file, 'Remove it, or name another file.');
  await checkCreatable(file, size);
  const folder = await realpath(dirname(file));
  const workshop = await leasedFolder(join(folder, '.doppel-new-')).catch(openFailed(folder));
  const draft = join(workshop, basename(file));
  // Until it has its name, there is no target.
  const told: OnEvent = (event) => event.type !== 'target' && onEvent(event);
  const run = { onEvent: told, ...(signal === undefined ? {} : { signal }) };
  try {
    const request = {
      source: image.name,
      archive,
      target: draft,
      identity: { choice: 'none', profiles: [], replaceProfile: false },
      expect: [],
      create: { size },
      kinds: {},
      kindOverrides: new Map(),
      unused: 'skip',
      exact: true,
      verify: true,
      allowInconsistent: false,
    } as const;
    const { written, verified, seconds } = await executeClone(await planClone(request, run), run);
    await claimName(draft, join(folder, basename(file)), file);
    onEvent({ type: 'target', name: file, state: 'committed' });
    return { source: image.name, digest: archive.digest, size, written, verified, seconds };
  } finally {
    await endLease(workshop);
  }
}
