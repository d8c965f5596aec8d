/** The host that the target's profile names, and what its disk and its console must say. */
import { execa } from 'execa';
import { dataChecksum, hashOf, systemFacts } from './disks.ts';
import { doppel } from './doppel.ts';
import { type Identity, told, toldAddresses, toldFingerprints } from './identity.ts';
import type { Report } from './report.ts';

const host = 'web-07';
const address = '198.51.100.17/24';
const passwordHash = '$6$bootbootboot$J0cMFDzxBKvQBTqy6zW0zZkiH8X4nJZnZrrE0ZOYlkTF0TUlXoMXJvkSwZcGLBfZDOkvIYVnVA.4IQ7Fcd0hW1';
const ownFile = '/etc/keepalived/local.conf';
const services = { rsyslog: 'enabled', nginx: 'disabled', cron: 'masked' } as const;

export const profileText = `apiVersion: doppel/v1
host: ${host}
identity:
  hostname: ${host}
  fqdn: ${host}.example.net
  machineId: generate
  sshHostKeys: {mode: generate, types: [ed25519]}
network:
  version: 2
  renderer: networkd
  ethernets:
    lan:
      match: {name: "en*"}
      addresses: [${address}]
      routes: [{to: default, via: 198.51.100.1}]
role: standby
roles:
  standby:
    target: multi-user.target
    services: {enable: [rsyslog], disable: [nginx], mask: [cron]}
    drivers: {load: [dummy]}
users: [{name: root, hashed_passwd: "${passwordHash}"}]
write_files:
  - {path: ${ownFile}, permissions: "0600", content: "router_id ${host}\\n"}
`;

/** A target and what it must stay. */
export interface Target {
  readonly image: string;
  readonly region: { readonly offset: number; readonly length: number };
  /** SHA-256 of the region, when the profile had been written. */
  readonly regionHash: string;
  /** As `profile write` printed it. */
  readonly machineId: string;
  /** Of the public keys that `profile show` prints, as ssh-keygen gives them. */
  readonly fingerprints: readonly string[];
}

/** Gives a blank disk image the profile. */
export async function giveProfile(image: string, profileFile: string): Promise<Target> {
  const { region } = (await doppel('profile', 'init', image, '--yes')) as { region: Target['region'] };
  const { machineId } = (await doppel('profile', 'write', image, profileFile, '--yes')) as { machineId: string };
  const { bundle } = (await doppel('profile', 'show', image)) as {
    bundle: { generated: { sshHostKeys: readonly { publicKey: string }[] } };
  };
  const fingerprints: string[] = [];
  for (const { publicKey } of bundle.generated.sshHostKeys) {
    const { stdout } = await execa('ssh-keygen', ['-l', '-f', '-'], { input: publicKey });
    fingerprints.push(stdout.split(' ')[1] ?? '');
  }
  return { image, region, regionHash: await hashOf(image, region), machineId, fingerprints: fingerprints.sort() };
}

/** The system that told this is the profile's host, and well. */
export function checkIdentity(report: Report, identity: Identity, target: Target): void {
  report.equal('host name', told(identity, 'hostname'), host);
  report.equal('machine id, as profile write printed it', told(identity, 'machine-id'), target.machineId);
  report.equal('addresses', toldAddresses(identity), [address]);
  report.equal('SSH host keys, as in profile show', toldFingerprints(identity), target.fingerprints);
  report.equal('failed units', told(identity, 'units-failed'), '');
  report.equal('ssh', told(identity, 'ssh')?.split(' ')[0], 'active');
  // Only the bootable server of this repository tells more.
  if (identity.has('fqdn')) report.equal('full name', told(identity, 'fqdn'), `${host}.example.net`);
  if (identity.has('route'))
    report.holds('route', /^default via 198\.51\.100\.1 /.test(told(identity, 'route') ?? ''), told(identity, 'route') ?? '');
  const running = { enabled: 'active', disabled: 'inactive', masked: 'inactive' } as const;
  for (const line of identity.get('unit') ?? []) {
    const [unit = '', ...state] = line.split(' ');
    const wanted = (services as Readonly<Record<string, keyof typeof running>>)[unit] ?? 'enabled';
    report.equal(`service ${unit}`, state.join(' '), `${wanted} ${running[wanted]}`);
  }
  if (identity.has('default-target')) report.equal('default target', told(identity, 'default-target'), 'multi-user.target');
  const modules = told(identity, 'modules');
  if (modules !== undefined)
    report.equal('module dummy', modules.split(' ').includes('dummy') ? 'loaded' : 'not loaded', 'loaded');
}

/** What the system on the disk is set to. */
export async function checkSystem(report: Report, image: string): Promise<void> {
  const facts = await systemFacts(image, Object.keys(services), ownFile);
  report.equal('services on the disk', facts.units, services);
  report.equal('default target on the disk', facts.defaultTarget, 'multi-user.target');
  report.equal("root's password hash", facts.rootPassword, passwordHash);
  report.equal(`the profile's own file ${ownFile}`, facts.file, `router_id ${host}\n`);
}

export async function checkRegion(report: Report, target: Target, when: string): Promise<void> {
  report.equal(`profile region ${when}`, await hashOf(target.image, target.region), target.regionHash);
}

export async function checkData(report: Report, image: string, expected: string, when: string, replay = false): Promise<void> {
  report.equal(`application data ${when}`, await dataChecksum(image, { replay }), expected);
}
