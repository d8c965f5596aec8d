/** Host name: /etc/hostname, /etc/mailname, and the names of this machine in /etc/hosts. */
import type { Bundle, InterfaceConfig } from '../../profile/model.ts';
import { bytes, type OverlayTree } from '../overlay.ts';
import { isDebianLike } from '../system.ts';
import type { Operation } from './types.ts';

export const hostname: Operation = {
  name: 'hostname',
  heading: 'Host name and its lines in /etc/hosts',
  default: true,
  order: 100,
  touches: ['/etc/hosts', '/etc/mailname', '/etc/hostname'],
  async plan(tree, { bundle, system }) {
    const { hostname: name, fqdn } = bundle.resolved.identity;
    const old = system.hostname?.split('.')[0];
    const renamer = new Renamer(old, name, fqdn);
    await editHosts(tree, bundle, renamer, isDebianLike(system));
    const mailname = await tree.readText('/etc/mailname', 'latin1');
    if (mailname !== undefined) {
      const renamed = renamer.rename(mailname.trim());
      if (renamed !== undefined) await tree.write('/etc/mailname', bytes(`${renamed}\n`));
    }
    // Last: the old name is how a run after a crash knows what to replace in the other files.
    await tree.write('/etc/hostname', `${name}\n`, { mode: 0o644, uid: 0, gid: 0 });
  },
};

class Renamer {
  readonly #old: string | undefined;
  readonly name: string;
  readonly fqdn: string | undefined;

  constructor(old: string | undefined, name: string, fqdn: string | undefined) {
    this.#old = old === undefined || old.toLowerCase() === 'localhost' ? undefined : old.toLowerCase();
    this.name = name;
    this.fqdn = fqdn;
  }

  /** The new name for the old host name or a fully qualified form of it; undefined for every other word. */
  rename(word: string): string | undefined {
    const lower = word.toLowerCase();
    if (this.#old === undefined) return undefined;
    if (lower === this.#old) return this.name;
    if (!lower.startsWith(`${this.#old}.`)) return undefined;
    return this.fqdn ?? this.name + word.slice(this.#old.length);
  }
}

interface HostsLine {
  /** Everything before the names, kept as it is. */
  readonly lead: string;
  readonly address: string;
  names: string[];
  /** White space and comment after the names. */
  readonly tail: string;
  readonly original: { readonly text: string; readonly names: string };
}

async function editHosts(tree: OverlayTree, bundle: Bundle, renamer: Renamer, debian: boolean): Promise<void> {
  const text = await tree.readText('/etc/hosts', 'latin1');
  const lines = (text ?? '').split('\n').map((line) => parse(line) ?? line);
  const own = ownAddresses(bundle);
  // Without a network in the profile the target keeps the source's addresses, so that any line may be its own.
  const isOwn = (line: HostsLine) => own === undefined || own.has(line.address.toLowerCase());
  let found: HostsLine | undefined;
  for (const line of lines) {
    if (typeof line === 'string' || !isOwn(line)) continue;
    line.names = [...new Set(line.names.map((name) => renamer.rename(name) ?? name))];
    if (line.names.includes(renamer.name) && (!found || line.address === '127.0.1.1')) found = line;
  }
  const wanted = renamer.fqdn === undefined ? [renamer.name] : [renamer.fqdn, renamer.name];
  const place = found ?? lines.find((line): line is HostsLine => typeof line !== 'string' && line.address === '127.0.1.1');
  if (place && (found || debian)) {
    // The canonical name comes first (hosts(5)).
    if (!wanted.every((name) => place.names.includes(name))) {
      const others = place.names.filter((name) => !wanted.includes(name));
      place.names = ['127.0.0.1', '::1'].includes(place.address) ? [...others, ...wanted] : [...wanted, ...others];
    }
  } else if (debian) {
    const after = lines.findIndex((line) => typeof line !== 'string' && line.address === '127.0.0.1');
    const before = after >= 0 ? after + 1 : 0;
    if (text === undefined) lines.splice(0, lines.length, '127.0.0.1\tlocalhost', '');
    lines.splice(text === undefined ? 1 : before, 0, `127.0.1.1\t${wanted.join(' ')}`);
  }
  const result = lines.map((line) => (typeof line === 'string' ? line : print(line))).join('\n');
  if (result !== text && result !== '') await tree.write('/etc/hosts', bytes(result));
}

function parse(line: string): HostsLine | undefined {
  const match = /^(\s*([0-9A-Fa-f:.%]\S*)\s+)([^#]*?)(\s*(?:#.*)?)$/.exec(line);
  if (!match) return undefined;
  const [, lead = '', address = '', names = '', tail = ''] = match;
  const words = names.split(/\s+/).filter((name) => name !== '');
  return { lead, address, names: words, tail, original: { text: line, names: words.join(' ') } };
}

/** A line whose names did not change stays byte for byte. */
function print(line: HostsLine): string {
  const names = line.names.join(' ');
  return line.original.names === names ? line.original.text : line.lead + names + line.tail;
}

function ownAddresses(bundle: Bundle): Set<string> | undefined {
  const { network } = bundle.resolved;
  if (!network) return undefined;
  const groups: Readonly<Record<string, InterfaceConfig>>[] = [network.ethernets, network.vlans, network.bonds, network.bridges];
  const interfaces = groups.flatMap((group) => Object.values(group));
  const addresses = interfaces.flatMap((one) => one.addresses.map((address) => address.split('/')[0] ?? address));
  return new Set(['127.0.0.1', '127.0.1.1', '::1', ...addresses].map((address) => address.toLowerCase()));
}
