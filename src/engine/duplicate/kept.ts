/** What a system has now and its profile says `keep` about: machine id and SSH host keys. */

import type { ReadableTree } from '../persona/tree.ts';
import { type SshHostKey, sshKeyTypes } from '../profile/model.ts';
import type { SystemPart } from './system.ts';
import { nothingWritable, withSystem } from './system.ts';

export interface Kept {
  readonly machineId?: string;
  readonly sshHostKeys?: readonly SshHostKey[];
}

/** Nothing when there is no system, or it cannot be looked into. */
export async function keptIdentity(parts: readonly SystemPart[]): Promise<Kept> {
  return withSystem(
    parts,
    nothingWritable,
    async ({ tree, system }) => {
      const sshHostKeys = await hostKeys(tree);
      return {
        ...(system.machineId === undefined ? {} : { machineId: system.machineId }),
        ...(sshHostKeys.length === 0 ? {} : { sshHostKeys }),
      };
    },
    async () => ({}),
  );
}

async function hostKeys(tree: ReadableTree): Promise<SshHostKey[]> {
  const keys: SshHostKey[] = [];
  for (const type of sshKeyTypes) {
    const privateKey = await tree.read(`/etc/ssh/ssh_host_${type}_key`);
    const publicKey = await tree.read(`/etc/ssh/ssh_host_${type}_key.pub`);
    if (privateKey === undefined || publicKey === undefined) continue;
    keys.push({ type, privateKey: Buffer.from(privateKey).toString('utf8'), publicKey: Buffer.from(publicKey).toString('utf8') });
  }
  return keys;
}
