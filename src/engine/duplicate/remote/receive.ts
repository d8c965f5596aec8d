/** The side of the target: reads what another doppel sends, and plans what becomes of it. */
import type { Readable } from 'node:stream';
import { archiveOptions } from '../../archive/open.ts';
import { PipedArchive } from '../../archive/piped.ts';
import { StreamBytes } from '../../archive/stream-bytes.ts';
import type { RunOptions } from '../../events.ts';
import { archivedMachine } from '../archived-source.ts';
import { parseExpectation } from '../expect.ts';
import type { IdentityRequest } from '../identity.ts';
import { planClone } from '../make-plan.ts';
import type { ClonePlan } from '../plan.ts';
import { RemoteVersionError } from './errors.ts';
import { heldCells, isFenced } from './offer.ts';
import { LONGEST_LINE, parseRequest, type ReceiveRequest } from './protocol.ts';

export interface Reception {
  readonly archive: PipedArchive;
  readonly plan: ClonePlan;
  /** Cells that need not come, by where they begin, with the digests of what they hold. */
  readonly have: ReadonlyMap<number, string>;
}

/** Nothing is written. `archive` must be closed. @throws RemoteVersionError, and what planClones throws */
export async function receive(input: Readable, run: RunOptions & { readonly signal: AbortSignal }): Promise<Reception> {
  const bytes = new StreamBytes('what arrives', input);
  const request = parseRequest((await bytes.line(LONGEST_LINE)) ?? '');
  if (request === undefined) throw new RemoteVersionError('the target', 'what it was asked is not understood');
  const archive = await PipedArchive.open(request.source, bytes, await archiveOptions());
  try {
    const delta = request.delta || (request.create === undefined && (await isFenced(request.target)));
    const plan = await planClone({ ...requestOf(request), archive, delta }, run);
    const have = delta ? await heldCells(request.target, archive.layout, archivedMachine(archive).image, run.signal) : new Map();
    archive.offer(have);
    return { archive, plan, have };
  } catch (error) {
    await archive.close();
    throw error;
  }
}

function requestOf({ target, create, expect, identity, ...rest }: ReceiveRequest) {
  return {
    target,
    ...(create === undefined ? {} : { create: { size: create } }),
    expect: expect.map(parseExpectation),
    identity: identityOf(identity),
    kinds: {},
    kindOverrides: new Map(),
    allowInconsistent: false,
    ...rest,
  };
}

function identityOf({ choice, replaceProfile, profile, bundle }: ReceiveRequest['identity']): IdentityRequest {
  const common = { choice, replaceProfile, profiles: [], ...(bundle === undefined ? {} : { sourceBundle: bundle }) };
  if (profile === undefined) return common;
  const { secrets, ...content } = profile;
  return { ...common, file: content.source.file, loaded: { ...content, readSecrets: async () => secrets } };
}
