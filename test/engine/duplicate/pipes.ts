/** Restores from a pipe by way of the engine. */
import type { Readable } from 'node:stream';
import type { ArchiveAccess } from '../../../src/engine/archive/access.ts';
import { archiveOptions } from '../../../src/engine/archive/open.ts';
import { PipedArchive } from '../../../src/engine/archive/piped.ts';
import { StreamBytes } from '../../../src/engine/archive/stream-bytes.ts';
import { executeClones } from '../../../src/engine/duplicate/execute.ts';
import { planClones } from '../../../src/engine/duplicate/make-plan.ts';
import { requestOf, type Wishes } from './requests.ts';

export async function restorePipe(stream: Readable, targets: readonly string[], wishes: Wishes = {}, access: ArchiveAccess = {}) {
  const bytes = new StreamBytes('the pipe', stream);
  const archive = await PipedArchive.open('the pipe', bytes, await archiveOptions(access));
  try {
    const requests = targets.map((target) => ({ ...requestOf('the pipe', target, wishes), archive }));
    const plans = await planClones(requests[0] as (typeof requests)[number], requests);
    const results = (await executeClones(plans)).map((outcome) => {
      if ('error' in outcome) throw outcome.error;
      return outcome.result;
    });
    return { plans, results };
  } finally {
    await archive.close();
  }
}
