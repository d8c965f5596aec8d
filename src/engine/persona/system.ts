/** Whose system a tree holds: release, names, kernels, init, network backend, keys. */
import { createHash } from 'node:crypto';
import { NotASystemError } from './errors.ts';
import { detectNetworkBackend, type NetworkBackend } from './network/backend.ts';
import type { ReadableTree } from './tree.ts';

export interface SystemInfo {
  readonly os: {
    /** ID of os-release(5), as `debian`; `linux` where it says nothing. */
    readonly id: string;
    readonly like: readonly string[];
    readonly version?: string;
    readonly pretty: string;
  };
  readonly hostname?: string;
  readonly machineId?: string;
  /** Directories of /lib/modules that hold modules. */
  readonly kernels: readonly string[];
  readonly init: 'systemd' | 'openrc' | 'sysvinit' | 'unknown';
  readonly network?: NetworkBackend;
  readonly fstab?: string;
  readonly sshHostKeys: readonly { readonly file: string; readonly type: string; readonly fingerprint: string }[];
}

/** Reads what identifies a system. @throws NotASystemError without os-release and without /etc. */
export async function identifySystem(tree: ReadableTree): Promise<SystemInfo> {
  const release = (await text(tree, '/etc/os-release')) ?? (await text(tree, '/usr/lib/os-release'));
  if (release === undefined && !(await tree.list('/etc'))) throw new NotASystemError('it has neither /etc/os-release nor /etc');
  const fields = parseOsRelease(release ?? '');
  const id = fields.get('ID') ?? 'linux';
  const version = fields.get('VERSION_ID');
  const [hostname, machineId, network, fstab, modules, init, hostKeys] = await Promise.all([
    text(tree, '/etc/hostname').then(firstLine),
    text(tree, '/etc/machine-id').then(firstLine),
    detectNetworkBackend(tree),
    text(tree, '/etc/fstab'),
    kernels(tree),
    initSystem(tree),
    sshHostKeys(tree),
  ]);
  return {
    os: {
      id,
      like: fields.get('ID_LIKE')?.split(/\s+/) ?? [],
      ...(version === undefined ? {} : { version }),
      pretty: fields.get('PRETTY_NAME') ?? fields.get('NAME') ?? 'Linux',
    },
    ...(hostname === undefined ? {} : { hostname }),
    ...(machineId === undefined ? {} : { machineId }),
    kernels: modules,
    init,
    ...(network === undefined ? {} : { network }),
    ...(fstab === undefined ? {} : { fstab }),
    sshHostKeys: hostKeys,
  };
}

export function isDebianLike(system: SystemInfo): boolean {
  return [system.os.id, ...system.os.like].includes('debian');
}

async function text(tree: ReadableTree, path: string): Promise<string | undefined> {
  const content = await tree.read(path);
  return content && Buffer.from(content).toString('utf8');
}

/** First line that is neither empty nor a comment. */
function firstLine(content: string | undefined): string | undefined {
  return content
    ?.split('\n')
    .map((line) => line.trim())
    .find((line) => line !== '' && !line.startsWith('#'));
}

/** Shell-like assignments, as os-release(5) describes them. */
function parseOsRelease(content: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of content.split('\n')) {
    const match = /^\s*([A-Z][A-Z0-9_]*)=(.*?)\s*$/.exec(line);
    if (!match) continue;
    const [, key = '', raw = ''] = match;
    const quoted = /^(["'])(.*)\1$/.exec(raw);
    fields.set(key, (quoted?.[2] ?? raw).replace(/\\(["$`\\])/g, '$1'));
  }
  return fields;
}

async function kernels(tree: ReadableTree): Promise<string[]> {
  const found = new Set<string>();
  for (const directory of ['/lib/modules', '/usr/lib/modules']) {
    for (const name of (await tree.list(directory)) ?? []) {
      const files = await tree.list(`${directory}/${name}`);
      if (files?.some((file) => file === 'modules.dep' || file === 'modules.order' || file === 'kernel')) found.add(name);
    }
  }
  return [...found].sort();
}

async function initSystem(tree: ReadableTree): Promise<SystemInfo['init']> {
  const has = async (path: string) => (await tree.lstat(await tree.realpath(path))) !== undefined;
  const init = await tree.realpath('/sbin/init');
  if (init.endsWith('/systemd')) return 'systemd';
  if ((await has('/sbin/openrc-init')) || (await has('/sbin/openrc'))) return 'openrc';
  if ((await has('/usr/lib/systemd/systemd')) || (await has('/lib/systemd/systemd'))) return 'systemd';
  return (await has('/etc/inittab')) ? 'sysvinit' : 'unknown';
}

/** Fingerprints as `ssh-keygen -l` prints them: base64 of the SHA-256 of the key blob, without padding (RFC 4253, 6.6). */
async function sshHostKeys(tree: ReadableTree): Promise<SystemInfo['sshHostKeys']> {
  const keys: { file: string; type: string; fingerprint: string }[] = [];
  for (const name of (await tree.list('/etc/ssh')) ?? []) {
    if (!/^ssh_host_.*_key\.pub$/.test(name)) continue;
    const [type, blob] = ((await text(tree, `/etc/ssh/${name}`)) ?? '').trim().split(/\s+/);
    if (!type || !blob) continue;
    const digest = createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64').replace(/=+$/, '');
    keys.push({ file: `/etc/ssh/${name}`, type, fingerprint: `SHA256:${digest}` });
  }
  return keys;
}
