/** A bundle is made where the profile is written: it resolves everything and draws every generated value once. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { NothingToKeepError, PreviousBundleError } from './bundle-errors.ts';
import { isMachineId } from './checks.ts';
import { isTargetId } from './header.ts';
import { generateHostKeys, isHostKey } from './host-keys.ts';
import type { ProfileContent } from './load.ts';
import type { Bundle, ResolvedProfile, SshHostKey } from './model.ts';

export { decodeBundle, encodeBundle, redactBundle } from './bundle-codec.ts';

export interface BundleOptions {
  /** What the region holds now: what was generated for it is taken over, so that re-writing a profile changes no keys. */
  readonly previous?: Bundle | undefined;
  /** Draws machine id and host keys again although `previous` has them. */
  readonly regenerate?: boolean;
  /** What the target's own system has, for `keep`. */
  readonly kept?: { readonly machineId?: string | undefined; readonly sshHostKeys?: readonly SshHostKey[] | undefined };
  /** Lower-case UUID; default: the previous one's, or a new one. */
  readonly targetId?: string | undefined;
  readonly signal?: AbortSignal;
}

/**
 * @throws ProfileInvalidError (E017, E023) for secrets, NothingToKeepError, PreviousBundleError, KeygenError
 */
export async function makeBundle(loaded: ProfileContent, options: BundleOptions = {}): Promise<Bundle> {
  const { previous, targetId: wanted } = options;
  if (wanted !== undefined && !isTargetId(wanted)) throw new RangeError(`the target id ${wanted} is not a UUID in lower case`);
  if (previous !== undefined && wanted !== undefined && previous.targetId !== wanted) {
    throw new PreviousBundleError(previous.targetId, wanted);
  }
  const targetId = wanted ?? previous?.targetId ?? randomUUID();
  const { resolved, source } = loaded;
  const secrets = await loaded.readSecrets();
  const machineId = drawMachineId(resolved, targetId, options);
  const sshHostKeys = await drawHostKeys(resolved, options);
  return {
    format: 1,
    targetId,
    written: new Date().toISOString(),
    source: { file: source.file, text: source.text },
    resolved,
    secrets,
    generated: { machineId, sshHostKeys },
  };
}

function drawMachineId(resolved: ResolvedProfile, targetId: string, options: BundleOptions): string {
  const { machineId: mode } = resolved.identity;
  const previous = takenOver(options)?.resolved.identity.machineId === mode ? options.previous?.generated.machineId : undefined;
  if (mode === 'generate') return previous ?? uuidShaped(randomBytes(16));
  if (mode === 'derive') return deriveMachineId(targetId, resolved.host);
  if (mode !== 'keep') return mode;
  const kept = previous ?? options.kept?.machineId;
  if (kept === undefined) throw new NothingToKeepError('identity.machineId', 'the target has no system with a machine id');
  if (!isMachineId(kept))
    throw new NothingToKeepError('identity.machineId', "the machine id of the target's system is malformed");
  return kept;
}

/** The first 16 bytes of SHA-256 over "doppel machine-id", target id and host name, each ended by a zero byte, as a UUID. */
export function deriveMachineId(targetId: string, host: string): string {
  return uuidShaped(createHash('sha256').update(`doppel machine-id\0${targetId}\0${host}\0`).digest().subarray(0, 16));
}

/** machine-id(5): a machine id is best a valid version 4 UUID. */
function uuidShaped(bytes: Uint8Array): string {
  const id = Uint8Array.from(bytes);
  id[6] = ((id[6] as number) & 0x0f) | 0x40;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return Buffer.from(id).toString('hex');
}

const takenOver = ({ previous, regenerate }: BundleOptions) => (regenerate ? undefined : previous);

async function drawHostKeys(resolved: ResolvedProfile, options: BundleOptions): Promise<SshHostKey[]> {
  const { mode, types } = resolved.identity.sshHostKeys;
  const previous = takenOver(options);
  const old = previous?.resolved.identity.sshHostKeys.mode === mode ? previous.generated.sshHostKeys : [];
  const byType = new Map(old.map((key) => [key.type, key]));
  if (mode === 'generate') {
    const missing = types.filter((type) => !byType.has(type));
    for (const key of await generateHostKeys(missing, resolved.identity.hostname, options.signal)) byType.set(key.type, key);
    return types.flatMap((type) => byType.get(type) ?? []);
  }
  for (const key of options.kept?.sshHostKeys ?? []) {
    if (!isHostKey(key)) {
      throw new NothingToKeepError('identity.sshHostKeys', `the ${key.type} key of the target's system is malformed`);
    }
    if (!byType.has(key.type)) byType.set(key.type, key);
  }
  const keys = types.flatMap((type) => byType.get(type) ?? []);
  if (keys.length === 0) {
    throw new NothingToKeepError(
      'identity.sshHostKeys',
      `the target has no system with host keys of the types ${types.join(', ')}`,
    );
  }
  return keys;
}
