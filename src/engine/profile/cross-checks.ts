/**
 * What relates several values of one profile: services, drivers, files, users, secrets. Works on the tree, not on parsed data,
 * so that it still runs when something else in the profile is wrong.
 */
import { filePath, normalizeUnit, quote } from './checks.ts';
import { type Diagnostic, type DiagnosticCode, diagnostic } from './diagnostic.ts';
import { child, type DocumentNode, entries, items, type MapNode, textOf } from './document.ts';
import { checkNetwork } from './network-checks.ts';

export type Report = (code: DiagnosticCode, message: string, node: DocumentNode) => void;

/** `root` is the whole profile with the role's settings laid over it. */
export function crossCheck(root: MapNode): Diagnostic[] {
  const found: Diagnostic[] = [];
  const report: Report = (code, message, node) => found.push(diagnostic(code, message, node.place.path, node.place));
  checkServices(root, report);
  checkDrivers(root, report);
  checkFiles(root, report);
  checkUsers(root, report);
  checkSecretReferences(root, report);
  const network = child(root, 'network');
  if (network !== undefined) checkNetwork(network, report);
  return found;
}

const line = (node: DocumentNode) => `${node.place.file}, line ${node.place.line}`;

function checkServices(root: MapNode, report: Report): void {
  const enabled = new Map<string, DocumentNode>();
  for (const node of items(child(root, 'services', 'enable'))) {
    const unit = textOf(node);
    if (unit !== undefined) enabled.set(normalizeUnit(unit), node);
  }
  for (const [key, done] of [
    ['disable', 'disabled'],
    ['mask', 'masked'],
  ] as const) {
    for (const node of items(child(root, 'services', key))) {
      const unit = textOf(node);
      const other = unit === undefined ? undefined : enabled.get(normalizeUnit(unit));
      if (unit === undefined || other === undefined) continue;
      report('E013', `${normalizeUnit(unit)} is ${done} here and enabled in ${line(other)}; keep one of them`, node);
    }
  }
}

function checkDrivers(root: MapNode, report: Report): void {
  // The kernel takes "-" and "_" in module names for the same.
  const plain = (name: string) => name.replaceAll('-', '_');
  const loaded = new Map<string, DocumentNode>();
  for (const node of items(child(root, 'drivers', 'load'))) {
    const name = textOf(node);
    if (name !== undefined) loaded.set(plain(name), node);
  }
  for (const node of items(child(root, 'drivers', 'blacklist'))) {
    const name = textOf(node);
    const other = name === undefined ? undefined : loaded.get(plain(name));
    if (name !== undefined && other !== undefined) {
      report('E015', `${name} is blacklisted here and loaded in ${line(other)}; keep one of them`, node);
    }
  }
}

/** Paths that other sections write, and the section that does. */
const managed: readonly (readonly [RegExp, string])[] = [
  [/^\/etc\/(hostname|hosts|mailname)$/, 'identity.hostname'],
  [/^\/etc\/machine-id$|^\/var\/lib\/dbus\/machine-id$/, 'identity.machineId'],
  [/^\/etc\/ssh\/ssh_host_[^/]*$/, 'identity.sshHostKeys'],
  [/^\/etc\/g?shadow-?$/, 'users'],
  [/^\/etc\/(modules-load|modprobe)\.d\/[^/]*doppel[^/]*$/, 'drivers'],
];
/** Managed only where the profile says something about them; otherwise they are left alone and may be written. */
const managedNetwork =
  /^\/etc\/(netplan|systemd\/network|network\/interfaces\.d|NetworkManager\/system-connections)\/|^\/etc\/network\/interfaces$/;

function checkFiles(root: MapNode, report: Report): void {
  const written = new Map<string, DocumentNode>();
  const files = items(child(root, 'write_files')).map((file) => child(file, 'path'));
  for (const node of files) {
    const path = textOf(node);
    if (node === undefined || path === undefined || filePath(path) !== undefined) continue;
    const earlier = written.get(path);
    if (earlier !== undefined) report('E021', `${quote(path)} is written twice; the first is in ${line(earlier)}`, node);
    else written.set(path, node);
    const section = managingSection(path, root);
    if (section !== undefined) report('E022', `${quote(path)} is managed by ${section}; say it there, not in write_files`, node);
  }
  for (const [path, node] of written) {
    for (let up = path.lastIndexOf('/'); up > 0; up = path.lastIndexOf('/', up - 1)) {
      const above = written.get(path.slice(0, up));
      if (above === undefined) continue;
      report('E021', `${quote(path)} lies under ${quote(path.slice(0, up))}, which is written as a file in ${line(above)}`, node);
    }
  }
}

function managingSection(path: string, root: MapNode): string | undefined {
  const always = managed.find(([pattern]) => pattern.test(path))?.[1];
  if (always !== undefined) return always;
  if (managedNetwork.test(path) && child(root, 'network') !== undefined) return 'network';
  if (path === '/etc/systemd/system/default.target' && child(root, 'target') !== undefined) return 'target';
  return undefined;
}

function checkUsers(root: MapNode, report: Report): void {
  const seen = new Map<string, DocumentNode>();
  for (const user of items(child(root, 'users'))) {
    const node = child(user, 'name');
    const name = textOf(node);
    if (node === undefined || name === undefined) continue;
    const earlier = seen.get(name);
    if (earlier !== undefined)
      report('E030', `the user ${quote(name)} stands here twice; the first is in ${line(earlier)}`, node);
    else seen.set(name, node);
  }
}

function checkSecretReferences(root: MapNode, report: Report): void {
  const defined = entries(child(root, 'secrets')).map(([name]) => name);
  const holders = [
    ...items(child(root, 'users')).map((user) => child(user, 'hashed_passwd', 'secret')),
    ...items(child(root, 'write_files')).map((file) => child(file, 'content', 'secret')),
  ];
  for (const node of holders) {
    const name = textOf(node);
    if (node === undefined || name === undefined || defined.includes(name)) continue;
    const known = defined.length > 0 ? `; defined are ${defined.join(', ')}` : '';
    report('E011', `the secret ${quote(name)} is not defined under secrets${known}`, node);
  }
}
