/** The network in the four backends: what is written, what is archived, what stays. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { detectNetworkBackend } from '../../../../src/engine/persona/network/backend.ts';
import { DirectoryTree } from '../../../../src/engine/persona/trees/directory.ts';
import type { NetworkConfig } from '../../../../src/engine/profile/model.ts';
import { bundle, lan, plainInterface } from '../bundles.ts';
import {
  type Backend,
  inDirectory,
  isAt,
  linkAt,
  makeDebian,
  modeAt,
  personalize,
  plan,
  textAt,
  writeAt,
} from '../trees-on-disk.ts';

const header = '# Written by doppel from the profile of web-07; edits are overwritten.\n';

/** Everything that a renderer can say: bond with a VLAN in a bridge, DHCP, routes with metrics, MTU, MAC. */
const rich: NetworkConfig = {
  version: 2,
  ethernets: {
    lan0: { ...plainInterface(), match: { macaddress: '52:54:00:aa:bb:07' }, setName: 'lan0' },
    lan1: { ...plainInterface(), match: { macaddress: '52:54:00:aa:bb:08' }, setName: 'lan1' },
    eth9: plainInterface({
      dhcp4: true,
      dhcp6: true,
      optional: true,
      mtu: 9000,
      macaddress: '02:00:00:00:00:09',
      acceptRa: false,
    }),
  },
  bonds: { bond0: { ...plainInterface(), interfaces: ['lan0', 'lan1'], mode: 'active-backup', primary: 'lan0', miimon: 100 } },
  vlans: { storage: { ...plainInterface(), id: 30, link: 'bond0' } },
  bridges: {
    br0: {
      ...plainInterface({
        addresses: ['10.30.0.5/24', '10.30.0.6/24', '2001:db8:30::5/64'],
        routes: [
          { to: 'default', via: '10.30.0.1', metric: 200, onLink: false },
          { to: '10.99.0.0/16', via: '10.30.0.254', onLink: true },
          { to: 'default', via: '2001:db8:30::1', onLink: false },
        ],
        nameservers: { addresses: ['10.20.0.53', '2001:db8::53'], search: ['example.net', 'lab'] },
      }),
      interfaces: ['storage'],
      stp: false,
    },
  },
};

async function on(backend: Backend, network: NetworkConfig, check: (root: string) => Promise<void> | void): Promise<void> {
  await inDirectory(async (root) => {
    makeDebian(root, backend);
    await personalize(root, bundle({ network }));
    await check(root);
  });
}

const archive = 'var/lib/doppel/archive/etc';

test('each backend is recognised, and netplan before what it drives', async () => {
  for (const backend of ['networkd', 'netplan', 'ifupdown', 'NetworkManager'] as const) {
    await inDirectory(async (root) => {
      makeDebian(root, backend);
      assert.is(await detectNetworkBackend(new DirectoryTree(root)), backend);
    });
  }
});

test('what is enabled and configured goes before what is only enabled, masked counts as off', () =>
  inDirectory(async (root) => {
    makeDebian(root, 'ifupdown');
    const tree = new DirectoryTree(root);
    linkAt(
      root,
      'etc/systemd/system/multi-user.target.wants/systemd-networkd.service',
      '/lib/systemd/system/systemd-networkd.service',
    );
    assert.is(await detectNetworkBackend(tree), 'ifupdown');
    writeAt(root, 'etc/network/interfaces', 'auto lo\niface lo inet loopback\n');
    rmSync(join(root, 'etc/network/interfaces.d/extra'));
    assert.is(await detectNetworkBackend(tree), 'networkd');
    linkAt(root, 'etc/systemd/system/systemd-networkd.service', '/dev/null');
    assert.is(await detectNetworkBackend(tree), 'ifupdown');
    rmSync(join(root, 'etc/systemd/system'), { recursive: true });
    assert.is(await detectNetworkBackend(tree), 'networkd', 'installed only');
  }));

test('networkd: address files and names are written, competing files archived, policies and loopback stay', () =>
  on('networkd', lan, (root) => {
    const files = ['00-lo.network', '10-doppel-lan0.link', '10-doppel-lan0.network', '50-policy.link', '99-default.link'];
    assert.equal(readdirSync(join(root, 'etc/systemd/network')), files);
    assert.is(
      textAt(root, 'etc/systemd/network/10-doppel-lan0.link'),
      `${header}\n[Match]\nPermanentMACAddress=52:54:00:aa:bb:07\n\n[Link]\nName=lan0\n`,
    );
    assert.is(
      textAt(root, 'etc/systemd/network/10-doppel-lan0.network'),
      `${header}\n[Match]\nName=lan0\n\n[Network]\nDHCP=no\nLinkLocalAddressing=ipv6\nAddress=10.20.0.17/24\nAddress=2001:db8::17/64\nDNS=10.20.0.53\nDomains=example.net\n\n[Route]\nGateway=10.20.0.1\n`,
    );
    assert.match(textAt(root, `${archive}/systemd/network/10-lan.network`), /192\.0\.2\.10/);
    assert.match(textAt(root, `${archive}/systemd/network/60-nic.link`), /wan0/);
    assert.is(modeAt(root, 'var/lib/doppel/archive'), '700');
    assert.is(textAt(root, 'etc/resolv.conf'), `${header}search example.net\nnameserver 10.20.0.53\n`);
  }));

test('networkd: bond, bridge, VLAN and routes are in the files of their devices', () =>
  on('networkd', rich, (root) => {
    const files = readdirSync(join(root, 'etc/systemd/network')).filter((name) => name.startsWith('10-doppel-'));
    assert.equal(files, [
      '10-doppel-bond0.netdev',
      '10-doppel-bond0.network',
      '10-doppel-br0.netdev',
      '10-doppel-br0.network',
      '10-doppel-eth9.network',
      '10-doppel-lan0.link',
      '10-doppel-lan0.network',
      '10-doppel-lan1.link',
      '10-doppel-lan1.network',
      '10-doppel-storage.netdev',
      '10-doppel-storage.network',
    ]);
    const text = (name: string) => textAt(root, `etc/systemd/network/10-doppel-${name}`);
    assert.match(text('lan0.network'), /Bond=bond0\nPrimarySlave=yes\n/);
    assert.match(text('bond0.netdev'), /Kind=bond\n\n\[Bond\]\nMode=active-backup\nMIIMonitorSec=100ms\n/);
    assert.match(text('bond0.network'), /VLAN=storage\n/);
    assert.match(text('storage.netdev'), /Kind=vlan\n\n\[VLAN\]\nId=30\n/);
    assert.match(text('storage.network'), /Bridge=br0\n/);
    assert.match(text('br0.network'), /\[Route\]\nDestination=10\.99\.0\.0\/16\nGateway=10\.30\.0\.254\nGatewayOnLink=yes\n/);
    assert.match(text('br0.network'), /\[Route\]\nGateway=10\.30\.0\.1\nMetric=200\n/);
    assert.match(text('eth9.network'), /DHCP=yes\n/);
    assert.match(text('eth9.network'), /IPv6AcceptRA=no\n/);
    assert.match(text('eth9.network'), /RequiredForOnline=no\nMACAddress=02:00:00:00:00:09\nMTUBytes=9000\n/);
  }));

test('netplan: one YAML that only root can read, the old ones archived, cloud-init kept from the network', () =>
  on('netplan', rich, (root) => {
    assert.equal(readdirSync(join(root, 'etc/netplan')), ['10-doppel.yaml']);
    assert.is(modeAt(root, 'etc/netplan/10-doppel.yaml'), '600');
    assert.ok(textAt(root, 'etc/netplan/10-doppel.yaml').startsWith(header));
    assert.equal(parse(textAt(root, 'etc/netplan/10-doppel.yaml')), {
      network: {
        version: 2,
        ethernets: {
          lan0: { match: { macaddress: '52:54:00:aa:bb:07' }, 'set-name': 'lan0' },
          lan1: { match: { macaddress: '52:54:00:aa:bb:08' }, 'set-name': 'lan1' },
          eth9: { dhcp4: true, dhcp6: true, 'accept-ra': false, mtu: 9000, macaddress: '02:00:00:00:00:09', optional: true },
        },
        bonds: {
          bond0: {
            interfaces: ['lan0', 'lan1'],
            parameters: { mode: 'active-backup', primary: 'lan0', 'mii-monitor-interval': 100 },
          },
        },
        bridges: {
          br0: {
            interfaces: ['storage'],
            parameters: { stp: false },
            addresses: ['10.30.0.5/24', '10.30.0.6/24', '2001:db8:30::5/64'],
            routes: [
              { to: 'default', via: '10.30.0.1', metric: 200 },
              { to: '10.99.0.0/16', via: '10.30.0.254', 'on-link': true },
              { to: 'default', via: '2001:db8:30::1' },
            ],
            nameservers: { addresses: ['10.20.0.53', '2001:db8::53'], search: ['example.net', 'lab'] },
          },
        },
        vlans: { storage: { id: 30, link: 'bond0' } },
      },
    });
    assert.match(textAt(root, `${archive}/netplan/50-cloud-init.yaml`), /dhcp4/);
    assert.is(modeAt(root, `${archive}/netplan/50-cloud-init.yaml`), '600');
    assert.is(textAt(root, 'etc/cloud/cloud.cfg.d/99-disable-network-config.cfg'), `${header}network: {config: disabled}\n`);
  }));

test('ifupdown: stanzas in interfaces.d, loopback kept, old files archived, persistent names removed', () =>
  on('ifupdown', rich, (root) => {
    assert.equal(readdirSync(join(root, 'etc/network/interfaces.d')), ['doppel']);
    const stanzas = textAt(root, 'etc/network/interfaces.d/doppel');
    const expected = [
      header.trimEnd(),
      '',
      'auto lan0\niface lan0 inet manual\n',
      'auto lan1\niface lan1 inet manual\n',
      'allow-hotplug eth9\niface eth9 inet dhcp\n    mtu 9000\n    hwaddress ether 02:00:00:00:00:09\niface eth9 inet6 dhcp\n    accept_ra 0\n',
      'auto bond0\niface bond0 inet manual\n    bond-slaves lan0 lan1\n    bond-mode active-backup\n    bond-miimon 100\n    bond-primary lan0\n',
      'auto br0\niface br0 inet static\n    address 10.30.0.5/24\n    gateway 10.30.0.1\n    metric 200\n    post-up ip -4 route replace 10.99.0.0/16 via 10.30.0.254 dev br0 onlink\n    bridge_ports storage\n    bridge_stp off\n    dns-nameservers 10.20.0.53 2001:db8::53\n    dns-search example.net lab\niface br0 inet static\n    address 10.30.0.6/24\niface br0 inet6 static\n    address 2001:db8:30::5/64\n    gateway 2001:db8:30::1\n',
      'auto storage\niface storage inet manual\n    vlan-raw-device bond0\n    vlan-id 30\n',
    ];
    assert.is(stanzas, expected.join('\n'));
    assert.is(
      textAt(root, 'etc/network/interfaces'),
      `${header}source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n`,
    );
    assert.match(textAt(root, `${archive}/network/interfaces`), /eth0/);
    assert.match(textAt(root, `${archive}/network/interfaces.d/extra`), /eth1/);
    assert.not(isAt(root, 'etc/udev/rules.d/70-persistent-net.rules'));
    assert.match(textAt(root, 'etc/systemd/network/10-doppel-lan0.link'), /Name=lan0/);
    assert.is(
      textAt(root, 'etc/resolv.conf'),
      `${header}search example.net lab\nnameserver 10.20.0.53\nnameserver 2001:db8::53\n`,
    );
  }));

test('ifupdown: an interface that no name is known of is a problem, missing helpers are warnings', () =>
  inDirectory(async (root) => {
    makeDebian(root, 'ifupdown');
    const network = { ...rich, ethernets: { ...rich.ethernets, any: { ...plainInterface(), match: { driver: 'virtio_net' } } } };
    const made = await plan(root, bundle({ network }));
    assert.equal(
      made.problems.map(({ code, path }) => [code, path]),
      [['P004', ['network', 'ethernets', 'any', 'match']]],
    );
    assert.match(made.warnings.join('\n'), /ifenslave.*\n.*bridge-utils/);
  }));

test('NetworkManager: keyfiles that only root can read, wired connections archived, a VPN stays with a warning', () =>
  on('NetworkManager', rich, async (root) => {
    const directory = 'etc/NetworkManager/system-connections';
    const names = ['bond0', 'br0', 'eth9', 'lan0', 'lan1', 'storage'].map((name) => `doppel-${name}.nmconnection`);
    assert.equal(readdirSync(join(root, directory)), [...names, 'office.nmconnection']);
    for (const name of names) assert.is(modeAt(root, `${directory}/${name}`), '600');
    const text = (name: string) => textAt(root, `${directory}/doppel-${name}.nmconnection`);
    assert.match(text('lan0'), /type=ethernet\ninterface-name=lan0\nmaster=bond0\nslave-type=bond\n/);
    assert.not.match(text('lan0'), /\[ipv4\]/);
    assert.match(
      text('bond0'),
      /\[bond\]\nmode=active-backup\nmiimon=100\nprimary=lan0\n\n\[ipv4\]\nmethod=disabled\n\n\[ipv6\]\nmethod=link-local\n/,
    );
    assert.match(text('storage'), /\[vlan\]\nid=30\nparent=bond0\n/);
    assert.match(
      text('br0'),
      /\[ipv4\]\nmethod=manual\naddress1=10\.30\.0\.5\/24\naddress2=10\.30\.0\.6\/24\nroute1=0\.0\.0\.0\/0,10\.30\.0\.1,200\nroute2=10\.99\.0\.0\/16,10\.30\.0\.254\nroute2_options=onlink=true\ndns=10\.20\.0\.53;\ndns-search=example\.net;lab;\n/,
    );
    assert.match(
      text('br0'),
      /\[ipv6\]\nmethod=manual\naddress1=2001:db8:30::5\/64\ngateway=2001:db8:30::1\ndns=2001:db8::53;\n/,
    );
    assert.match(text('eth9'), /\[ethernet\]\ncloned-mac-address=02:00:00:00:00:09\nmtu=9000\n/);
    assert.match(text('eth9'), /\[ipv4\]\nmethod=auto\nmay-fail=true\n\n\[ipv6\]\nmethod=dhcp\n/);
    const uuids = names.map(
      (name) =>
        /^uuid=([0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})$/m.exec(
          textAt(root, `${directory}/${name}`),
        )?.[1],
    );
    assert.is(new Set(uuids).size, names.length);
    assert.not(uuids.includes(undefined));
    assert.match(textAt(root, `${archive}/NetworkManager/system-connections/Wired.nmconnection`), /Wired/);
    assert.match((await plan(root, bundle({ network: rich }))).warnings.join('\n'), /office\.nmconnection \(vpn\) stays/);
  }));

test('a renderer in the profile wins over the detected backend, and its unit is enabled', () =>
  inDirectory(async (root) => {
    makeDebian(root, 'ifupdown');
    await personalize(root, bundle({ network: { ...lan, renderer: 'networkd' } }));
    assert.ok(isAt(root, 'etc/systemd/network/10-doppel-lan0.network'));
    assert.equal(readdirSync(join(root, 'etc/systemd/system/multi-user.target.wants')), [
      'networking.service',
      'nginx.service',
      'systemd-networkd.service',
    ]);
    assert.is(
      textAt(root, 'etc/network/interfaces'),
      `${header}source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n`,
    );
    assert.not(isAt(root, 'etc/network/interfaces.d/extra'));
    const made = await plan(root, bundle({ network: { ...lan, renderer: 'NetworkManager' } }));
    assert.equal(
      made.problems.map(({ code }) => code),
      ['E014'],
    );
  }));

test('a later profile replaces our own files, without archiving them', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    await personalize(root, bundle({ network: rich }));
    await personalize(root, bundle({ network: lan }));
    const own = readdirSync(join(root, 'etc/systemd/network')).filter((name) => name.includes('doppel'));
    assert.equal(own, ['10-doppel-lan0.link', '10-doppel-lan0.network']);
    assert.equal(readdirSync(join(root, archive, 'systemd/network')), ['10-lan.network', '60-nic.link']);
  }));

test('an archived file is never overwritten by another of its name', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    await personalize(root, bundle({ network: lan }));
    writeAt(root, 'etc/systemd/network/10-lan.network', '[Match]\nName=second\n');
    await personalize(root, bundle({ network: lan }));
    assert.match(textAt(root, `${archive}/systemd/network/10-lan.network`), /192\.0\.2\.10/);
    assert.match(textAt(root, `${archive}/systemd/network/10-lan.network.1`), /second/);
  }));

test("a profile without a network leaves the source's addresses, and says so", () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const made = await personalize(root, bundle());
    assert.ok(isAt(root, 'etc/systemd/network/10-lan.network'));
    assert.match(made.warnings.join('\n'), /addresses of the source remain/);
  }));

test('no backend, and text that would break out of its line, are problems', () =>
  inDirectory(async (root) => {
    makeDebian(root, 'none');
    rmSync(join(root, 'usr/lib/systemd/system/systemd-networkd.service'));
    assert.equal(
      (await plan(root, bundle({ network: lan }))).problems.map(({ code }) => code),
      ['P004'],
    );
    const evil = { ...lan, ethernets: { eth0: plainInterface({ addresses: ['10.0.0.1/24\n[Network]'] }) } };
    const named = { ...lan, ethernets: { '../../x': plainInterface() } };
    for (const network of [evil, named]) {
      assert.equal(
        (await plan(root, bundle({ network }))).problems.map(({ code }) => code),
        ['P005'],
      );
    }
  }));

test('a resolv.conf that is a link belongs to whoever made it', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    linkAt(root, 'etc/resolv.conf', '../run/systemd/resolve/stub-resolv.conf');
    const made = await personalize(root, bundle({ network: lan }));
    assert.not(made.changes.some(({ path }) => path.includes('resolv')));
  }));

test('systemd-networkd finds no unknown key or section in what is written', () =>
  on('networkd', rich, (root) => {
    // The daemon has no mode that checks the files of another root; the keys that it knows stand in its binary as Section.Key.
    const daemon = readFileSync('/lib/systemd/systemd-networkd');
    for (const name of readdirSync(join(root, 'etc/systemd/network')).filter((file) =>
      /doppel.*\.(network|netdev)$/.test(file),
    )) {
      let section = '';
      for (const line of textAt(root, `etc/systemd/network/${name}`).split('\n')) {
        const head = /^\[(.*)\]$/.exec(line)?.[1];
        if (head !== undefined) section = head;
        else if (/^\w+=/.test(line))
          assert.ok(daemon.includes(`\0${section}.${line.split('=')[0]}\0`), `${name}: ${section}.${line}`);
      }
    }
  }));

test.run();
