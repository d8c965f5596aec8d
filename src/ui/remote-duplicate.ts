/** What `clone` and `restore` ask of a doppel on another computer. */
import { hostname } from 'node:os';
import type { CaptureRequest } from '../engine/duplicate/capture-plan.ts';
import type { ReceiveRequest, RemoteIdentity } from '../engine/duplicate/remote/protocol.ts';
import type { CopyRequest, TargetRequest } from '../engine/duplicate/request.ts';
import { UsageError } from '../engine/errors.ts';

/** What holds here, of the source. @throws UsageError for what does not go through ssh */
export function captureRequest(request: CopyRequest): CaptureRequest {
  const { readErrors = 'fail', mapFile, newGuids } = request;
  if (readErrors === 'skip') throw notThere('--on-read-error skip', 'Use --on-read-error zero.');
  if (mapFile !== undefined) throw notThere('--map', 'Capture the source into a file with --source-map, or clone it here.');
  if (newGuids === true) throw notThere('--new-guids', 'Capture the source into a file, and restore that on the other computer.');
  return { ...request, readErrors };
}

/** What goes over, of the target. @throws UsageError, ProfileError */
export async function receiveRequest(
  path: string,
  request: CopyRequest,
  { identity, expect, create }: TargetRequest,
): Promise<Omit<ReceiveRequest, 'protocol'>> {
  const { source, unused, exact, verify, delta = false, grow = [] } = request;
  return {
    source: `${hostname()}:${source}`,
    target: path,
    ...(create === undefined ? {} : { create: create.size }),
    identity: await remoteIdentity(identity, request),
    expect: expect.map(({ key, value }) => `${key}=${value}`),
    unused,
    exact,
    delta,
    verify,
    grow,
  };
}

async function remoteIdentity(
  { choice, file, profiles, replaceProfile }: TargetRequest['identity'],
  request: CopyRequest,
): Promise<RemoteIdentity> {
  if (choice === 'source') {
    const [{ withSource }, { sourceWithoutProfile }] = await Promise.all([
      import('../engine/duplicate/source.ts'),
      import('../engine/duplicate/identity.ts'),
    ]);
    const bundle = await withSource(request, (source) => source.profile(), { lookInside: false });
    // The other side would wait for it in what has not been sent.
    if (bundle === undefined) throw sourceWithoutProfile(request.source);
    return { choice, replaceProfile, bundle };
  }
  if (choice !== 'file' || file === undefined) return { choice, replaceProfile };
  const { loadProfile } = await import('../engine/profile/load.ts');
  const { resolved, source, readSecrets } = await loadProfile(file, { searchPath: profiles });
  return { choice, replaceProfile, profile: { resolved, source, secrets: await readSecrets() } };
}

function notThere(flag: string, todo: string): UsageError {
  return new UsageError(`${flag} does not go through ssh`, { code: 'NOT_BY_SSH', todo, data: { flag } });
}
