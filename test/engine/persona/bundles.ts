/** Bundles for the tests of the persona: a host that differs from its source in everything. */
import type { Bundle, InterfaceConfig, NetworkConfig, ResolvedProfile } from '../../../src/engine/profile/model.ts';

export const newMachineId = 'feed0123456789abcdef0123456789ab';

export function plainInterface(settings: Partial<InterfaceConfig> = {}): InterfaceConfig {
  return {
    dhcp4: false,
    dhcp6: false,
    addresses: [],
    routes: [],
    nameservers: { addresses: [], search: [] },
    optional: false,
    ...settings,
  };
}

export const lan: NetworkConfig = {
  version: 2,
  ethernets: {
    lan0: {
      ...plainInterface({
        addresses: ['10.20.0.17/24', '2001:db8::17/64'],
        routes: [{ to: 'default', via: '10.20.0.1', onLink: false }],
        nameservers: { addresses: ['10.20.0.53'], search: ['example.net'] },
      }),
      match: { macaddress: '52:54:00:aa:bb:07' },
      setName: 'lan0',
    },
  },
  vlans: {},
  bonds: {},
  bridges: {},
};

export function bundle(resolved: Partial<ResolvedProfile> = {}, rest: Partial<Bundle> = {}): Bundle {
  return {
    format: 1,
    targetId: '11111111-2222-4333-8444-555555555555',
    written: '2026-01-01T00:00:00Z',
    source: { file: 'web-07.yaml', text: '' },
    resolved: {
      apiVersion: 'doppel/v1',
      host: 'web-07',
      identity: {
        hostname: 'web-07',
        fqdn: 'web-07.example.net',
        machineId: 'generate',
        sshHostKeys: { mode: 'generate', types: ['ed25519'] },
      },
      services: { enable: [], disable: [], mask: [] },
      drivers: { load: [], blacklist: [], options: {} },
      users: [],
      writeFiles: [],
      ...resolved,
    },
    secrets: {},
    generated: {
      machineId: newMachineId,
      sshHostKeys: [{ type: 'ed25519', privateKey: 'NEW PRIVATE KEY\n', publicKey: 'ssh-ed25519 TkVXS0VZ root@web-07\n' }],
    },
    ...rest,
  };
}
