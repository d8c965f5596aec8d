/** What relates the parts of a network section: gateways to addresses, members to interfaces, default routes to each other. */
import { contains, type IpNetwork, isDefault, isLinkLocal6, parseCidr, parseIp } from './addresses.ts';
import { quote } from './checks.ts';
import type { Report } from './cross-checks.ts';
import { child, type DocumentNode, entries, items, textOf } from './document.ts';

const sections = ['ethernets', 'vlans', 'bonds', 'bridges'] as const;

interface DefaultRoute {
  readonly family: 4 | 6;
  readonly metric: number | undefined;
  readonly node: DocumentNode;
}

export function checkNetwork(network: DocumentNode, report: Report): void {
  const interfaces = new Map<string, DocumentNode>();
  for (const section of sections) {
    for (const [name, entry] of entries(child(network, section))) {
      const other = interfaces.get(name);
      if (other !== undefined)
        report('E030', `the interface ${quote(name)} is defined twice; the other is ${other.place.path}`, entry.value);
      else interfaces.set(name, entry.value);
    }
  }
  for (const [name, entry] of entries(child(network, 'ethernets'))) checkSetName(name, entry.value, report);
  checkMembers(network, interfaces, report);
  const defaults: DefaultRoute[] = [...interfaces.values()].flatMap((settings) => checkGateways(settings, report));
  checkDefaults(defaults, report);
}

function checkSetName(name: string, settings: DocumentNode, report: Report): void {
  const setName = child(settings, 'set-name');
  const match = child(settings, 'match');
  if (match === undefined && name.length > 15) {
    report('E030', `${quote(name)} is longer than an interface name may be (15) and has no match`, settings);
  }
  if (setName !== undefined && entries(match).length === 0) {
    report(
      'E007',
      'set-name needs a match that says which interface gets the name, as match: {macaddress: "52:54:00:aa:bb:07"}',
      setName,
    );
  }
}

function checkMembers(network: DocumentNode, interfaces: ReadonlyMap<string, DocumentNode>, report: Report): void {
  const masters = new Map<string, string>();
  const known = [...interfaces.keys()].join(', ');
  const exists = (node: DocumentNode | undefined, owner: string): string | undefined => {
    const name = textOf(node);
    if (node === undefined || name === undefined) return undefined;
    if (name === owner) report('E028', `${owner} cannot be a member of itself`, node);
    else if (!interfaces.has(name))
      report('E028', `${owner} names ${quote(name)}, which is not defined; defined are ${known}`, node);
    else return name;
    return undefined;
  };
  for (const [owner, entry] of entries(child(network, 'vlans'))) exists(child(entry.value, 'link'), owner);
  for (const section of ['bonds', 'bridges'] as const) {
    for (const [owner, entry] of entries(child(network, section))) {
      const members = items(child(entry.value, 'interfaces'));
      for (const node of members) {
        const name = exists(node, owner);
        if (name === undefined) continue;
        const master = masters.get(name);
        if (master !== undefined) report('E028', `${name} is a member of ${master} already; an interface has one master`, node);
        else masters.set(name, owner);
      }
      const primary = child(entry.value, 'parameters', 'primary');
      const name = textOf(primary);
      if (primary !== undefined && name !== undefined && !members.some((node) => textOf(node) === name)) {
        report('E028', `the primary ${quote(name)} is not among the interfaces of ${owner}`, primary);
      }
    }
  }
  checkLoops(network, report);
}

/** A bridge over a VLAN over the same bridge, and the like. */
function checkLoops(network: DocumentNode, report: Report): void {
  const below = new Map<string, { node: DocumentNode; names: string[] }>();
  for (const section of ['vlans', 'bonds', 'bridges'] as const) {
    for (const [name, entry] of entries(child(network, section))) {
      const nodes = section === 'vlans' ? [child(entry.value, 'link')] : items(child(entry.value, 'interfaces'));
      below.set(name, { node: entry.value, names: nodes.map(textOf).filter((text) => text !== undefined) });
    }
  }
  const reported = new Set<string>();
  for (const [start, { node, names }] of below) {
    if (names.includes(start) || reported.has(start)) continue;
    const seen = new Set<string>();
    const open = [...names];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (seen.has(name)) continue;
      seen.add(name);
      open.push(...(below.get(name)?.names ?? []));
    }
    if (!seen.has(start)) continue;
    report('E028', `${start} lies above itself: its members lead back to it`, node);
    for (const name of seen) reported.add(name);
  }
}

const isTrue = (node: DocumentNode | undefined) => node?.kind === 'scalar' && node.value === true;

/** E006 for gateways that no address reaches; answers the default routes. */
function checkGateways(settings: DocumentNode, report: Report): DefaultRoute[] {
  const addresses = items(child(settings, 'addresses'));
  const networks = addresses.map((node) => parseCidr(textOf(node) ?? '')).filter((network) => network !== undefined);
  // With an address that is malformed or has an unknown variable nothing can be said of gateways.
  const complete = networks.length === addresses.length;
  const defaults: DefaultRoute[] = [];
  const checkReach = (node: DocumentNode, onLink: boolean) => {
    const ip = parseIp(textOf(node) ?? '');
    if (ip === undefined || onLink || !complete || isLinkLocal6(ip)) return;
    const learned =
      ip.family === 4
        ? isTrue(child(settings, 'dhcp4'))
        : isTrue(child(settings, 'dhcp6')) || isTrue(child(settings, 'accept-ra'));
    if (learned || networks.some((network: IpNetwork) => contains(network, ip))) return;
    const own = networks.length > 0 ? `its addresses (${addresses.map(textOf).join(', ')})` : 'an interface without addresses';
    report(
      'E006',
      `the gateway ${textOf(node)} lies outside ${own}; correct one of them, or write the route with on-link: true`,
      node,
    );
  };
  for (const [key, family] of [
    ['gateway4', 4],
    ['gateway6', 6],
  ] as const) {
    const node = child(settings, key);
    const ip = parseIp(textOf(node) ?? '');
    if (node === undefined || ip === undefined) continue;
    if (ip.family !== family) report('E005', `${key} must be an IPv${family} address`, node);
    checkReach(node, false);
    defaults.push({ family, metric: undefined, node });
  }
  for (const route of items(child(settings, 'routes'))) {
    const via = child(route, 'via');
    const to = child(route, 'to');
    const ip = parseIp(textOf(via) ?? '');
    if (via !== undefined) checkReach(via, isTrue(child(route, 'on-link')));
    const network = parseCidr(textOf(to) ?? '');
    if (network !== undefined && ip !== undefined && network.family !== ip.family && via !== undefined) {
      report('E005', `the route goes to an IPv${network.family} network, but its gateway is an IPv${ip.family} address`, via);
    }
    const isDefaultRoute = textOf(to) === 'default' || (network !== undefined && isDefault(network));
    if (isDefaultRoute && via === undefined) report('E031', 'a default route needs a gateway: via: 10.20.0.1', route);
    const metric = child(route, 'metric');
    if (isDefaultRoute && ip !== undefined && !(metric?.kind === 'scalar' && metric.unresolved)) {
      const value = metric?.kind === 'scalar' && typeof metric.value === 'number' ? metric.value : undefined;
      defaults.push({ family: ip.family, metric: value, node: route });
    }
  }
  return defaults;
}

function checkDefaults(defaults: readonly DefaultRoute[], report: Report): void {
  const seen = new Map<string, DocumentNode>();
  for (const { family, metric, node } of defaults) {
    const key = `${family} ${metric}`;
    const other = seen.get(key);
    if (other === undefined) {
      seen.set(key, node);
      continue;
    }
    const what = metric === undefined ? 'without a metric' : `of metric ${metric}`;
    const where = `the other is in ${other.place.file}, line ${other.place.line}`;
    report('E026', `a second IPv${family} default route ${what} (${where}); give them different metrics, or remove one`, node);
  }
}
