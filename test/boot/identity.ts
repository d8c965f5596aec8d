/** What a bootable server tells on its serial port: lines `name=value` between IDENTITY-BEGIN and IDENTITY-END. */

/** Values by name, in the order told; a name may come several times. */
export type Identity = ReadonlyMap<string, readonly string[]>;

export const identityBegin = 'IDENTITY-BEGIN';
export const identityEnd = 'IDENTITY-END';

/** The last whole block in the serial log; undefined when there is none. Messages of the kernel between the lines are left out. */
export function parseIdentity(log: string): Identity | undefined {
  const text = log.replaceAll('\r', '');
  const begin = text.lastIndexOf(`${identityBegin}\n`);
  const end = text.indexOf(identityEnd, begin);
  if (begin < 0 || end < 0) return undefined;
  const identity = new Map<string, string[]>();
  for (const line of text.slice(begin, end).split('\n')) {
    const [, name, value] = /^([a-z][a-z-]*)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) identity.set(name, [...(identity.get(name) ?? []), value.trim()]);
  }
  return identity;
}

/** The only or first value; undefined when the name was not told. */
export function told(identity: Identity, name: string): string | undefined {
  return identity.get(name)?.[0];
}

/** `SHA256:...` of the host keys told, sorted. */
export function toldFingerprints(identity: Identity): string[] {
  return (identity.get('sshkey') ?? []).map((line) => /SHA256:\S+/.exec(line)?.[0] ?? line).sort();
}

/** Addresses with prefix length, without the names of their interfaces, sorted. */
export function toldAddresses(identity: Identity): string[] {
  return (identity.get('ip') ?? []).map((line) => line.split(' ').at(-1) ?? line).sort();
}
