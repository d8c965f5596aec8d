import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ProfileError } from '../../../src/engine/errors.ts';
import { checkProfile, loadProfile } from '../../../src/engine/profile/load.ts';
import { check, failure, head, load, withFiles } from './support.ts';

const v1 = 'apiVersion: doppel/v1\n';

test('mappings merge, lists replace, key+ appends, null removes; bases from left to right, then the profile', () =>
  withFiles(
    {
      'one.yaml': `${v1}services: {enable: [a], disable: [x]}\ndrivers: {load: [m1], options: {mod: {a: 1, b: 2}}}\ntarget: rescue.target\n`,
      'two.yaml': `${v1}services: {enable+: [b]}\ndrivers: {options: {mod: {b: 3}}}\n`,
    },
    async (directory) => {
      const text = `${head}extends: [one, two]\nservices: {enable+: [c], disable: [y]}\ndrivers: {load+: [m2]}\ntarget: null\n`;
      const { resolved } = await load(text, { searchPath: [directory] });
      assert.equal(resolved.services, {
        enable: ['a.service', 'b.service', 'c.service'],
        disable: ['y.service'],
        mask: [],
      });
      assert.equal(resolved.drivers, { load: ['m1', 'm2'], blacklist: [], options: { mod: { a: 1, b: 3 } } });
      assert.is(resolved.target, undefined);
    },
  ));

test('key and key+ in one mapping: replace, then append; key+ without a base is the list itself', async () => {
  const { resolved } = await load(`${head}services: {enable+: [b], enable: [a], mask+: [c]}\n`);
  assert.equal(resolved.services, { enable: ['a.service', 'b.service'], disable: [], mask: ['c.service'] });
});

test('the role lies over the top level, and appends with key+', async () => {
  const text = `${head}role: web\ntarget: a\nservices: {enable: [ssh], mask: [m]}\nwrite_files: [{path: /a, content: a}]\nroles:\n  web:\n    target: b\n    services: {enable+: [nginx]}\n    write_files+: [{path: /b, content: b}]\n  db: {services: {enable: [postgresql]}}\n`;
  const { resolved } = await load(text);
  assert.is(resolved.role, 'web');
  assert.is(resolved.target, 'b.target');
  assert.equal(resolved.services, { enable: ['ssh.service', 'nginx.service'], disable: [], mask: ['m.service'] });
  assert.equal(
    resolved.writeFiles.map((file) => file.path),
    ['/a', '/b'],
  );
});

test('a role that a base begins and the profile adds to', () =>
  withFiles({ 'site.yaml': `${v1}role: web\nroles: {web: {services: {enable: [nginx]}}}\n` }, async (directory) => {
    const text = `${head}extends: site\nservices: {enable: [ssh]}\nroles: {web: {services: {enable+: [php-fpm]}}}\n`;
    const { resolved } = await load(text, { searchPath: [directory] });
    assert.equal(resolved.services.enable, ['nginx.service', 'php-fpm.service']);
  }));

test('variables: in text, as a whole with their kind, of each other, built in, and of bases', () =>
  withFiles(
    {
      'site.yaml': `${v1}vars: {net: "10.0.{{ number }}", number: 1, mtu: 9000}\nnetwork: {ethernets: {lan0: {mtu: "{{ mtu }}", addresses: ["{{ net }}.7/24"]}}}\n`,
    },
    async (directory) => {
      const text = `${head}extends: [site]\nvars: {number: 007}\nidentity: {hostname: "{{ host }}-a", fqdn: "{{ hostname }}.example.net"}\nwrite_files:\n  - path: /etc/issue\n    content: "{{host}} {{ hostname }} {{number}} \\\\{{ raw }}"\n`;
      const { resolved } = await load(text.replace('number: 007', 'number: 20'), { searchPath: [directory] });
      assert.is(resolved.network?.ethernets.lan0?.mtu, 9000);
      assert.equal(resolved.network?.ethernets.lan0?.addresses, ['10.0.20.7/24']);
      assert.equal(resolved.identity.fqdn, 'web-07-a.example.net');
      assert.is(resolved.writeFiles[0]?.content, 'web-07 web-07-a 20 {{ raw }}');
      const other = await load(text, { searchPath: [directory] }).catch((error) => error);
      assert.match(other.message, /10\.0\.007\.7/, 'a number in text stays as written');
    },
  ));

test('variables are never substituted in YAML text or in keys', async () => {
  const text = `${head}vars: {evil: "x\\nrole: web"}\ndrivers: {options: {m: {a: "1"}}}\nwrite_files: [{path: /a, content: "{{ evil }}"}]\n`;
  const { resolved } = await load(text);
  assert.is(resolved.role, undefined);
  assert.is(resolved.writeFiles[0]?.content, 'x\nrole: web');
  const found = await check(`${head}vars: {k: enable}\nservices: {"{{ k }}": [a]}\n`);
  assert.equal(
    found.map((d) => d.code),
    ['E001'],
  );
});

test('variables that grow without end are stopped', async () => {
  const vars = Array.from({ length: 40 }, (_, i) => `v${i + 1}: "{{ v${i} }}{{ v${i} }}"`).join(', ');
  const found = await check(`${head}vars: {v0: "0123456789", ${vars}}\n`);
  assert.ok(found.length > 0 && found.every((d) => d.code === 'E011'));
  assert.match(found[0]?.message ?? '', /4 MiB/);
});

test('the network: gateways become default routes, 0.0.0.0/0 is default, MACs are normalised, everything has its default', async () => {
  const { resolved } = await load(`${head}network:
  version: 2
  renderer: NetworkManager
  ethernets:
    lan0:
      match: {macaddress: "52-54-00-AA-BB-07"}
      set-name: lan0
      addresses: [10.0.0.2/24, "2001:db8::2/64"]
      gateway4: 10.0.0.1
      gateway6: fe80::1
      routes: [{to: 10.9.0.0/16, via: 10.0.0.9, metric: 5}, {to: 0.0.0.0/0, via: 192.0.2.1, on-link: true, metric: 50}]
      nameservers: {addresses: [10.0.0.53], search: [example.net, ~corp]}
      accept-ra: false
      optional: true
    enp1s0: {dhcp4: true, routes: [{to: 10.8.0.0/16, via: 10.77.0.1}]}
  vlans: {v5: {id: 5, link: bond0, dhcp4: true}}
  bonds: {bond0: {interfaces: [enp1s0], parameters: {mode: 802.3ad, mii-monitor-interval: 100, primary: enp1s0}}}
  bridges: {br0: {interfaces: [lan0], parameters: {stp: false}}}
`);
  const common = {
    dhcp4: false,
    dhcp6: false,
    addresses: [],
    routes: [],
    nameservers: { addresses: [], search: [] },
    optional: false,
  };
  assert.equal(resolved.network, {
    version: 2,
    renderer: 'NetworkManager',
    ethernets: {
      lan0: {
        ...common,
        addresses: ['10.0.0.2/24', '2001:db8::2/64'],
        routes: [
          { to: 'default', via: '10.0.0.1', onLink: false },
          { to: 'default', via: 'fe80::1', onLink: false },
          { to: '10.9.0.0/16', via: '10.0.0.9', metric: 5, onLink: false },
          { to: 'default', via: '192.0.2.1', metric: 50, onLink: true },
        ],
        nameservers: { addresses: ['10.0.0.53'], search: ['example.net', '~corp'] },
        optional: true,
        acceptRa: false,
        match: { macaddress: '52:54:00:aa:bb:07' },
        setName: 'lan0',
      },
      enp1s0: { ...common, dhcp4: true, routes: [{ to: '10.8.0.0/16', via: '10.77.0.1', onLink: false }] },
    },
    vlans: { v5: { ...common, dhcp4: true, id: 5, link: 'bond0' } },
    bonds: { bond0: { ...common, interfaces: ['enp1s0'], mode: '802.3ad', primary: 'enp1s0', miimon: 100 } },
    bridges: { br0: { ...common, interfaces: ['lan0'], stp: false } },
  });
});

test('default routes of different families or metrics do not collide', async () => {
  const route = (to: string, via: string, metric: number) => `{to: ${to}, via: "${via}", metric: ${metric}}`;
  const routes = [route('default', '10.0.0.1', 1), route('0.0.0.0/0', '10.0.0.9', 2), route('"::/0"', 'fe80::1', 1)].join(', ');
  assert.equal(await check(`${head}network: {ethernets: {a: {addresses: [10.0.0.2/24], routes: [${routes}]}}}\n`), []);
});

test('units, permissions and owners are normalised; what is not said has its default', async () => {
  const { resolved } = await load(
    `${head}services: {enable: [nginx, nginx.service, a.timer, getty@tty2]}\nwrite_files: [{path: /a, content: x, permissions: "600"}, {path: /b, content: x, permissions: "04755", owner: "0:www-data"}, {path: /c, content: x}]\n`,
  );
  assert.equal(resolved.services.enable, ['nginx.service', 'a.timer', 'getty@tty2.service']);
  assert.equal(
    resolved.writeFiles.map((file) => [file.permissions, file.owner]),
    [
      ['0600', 'root:root'],
      ['4755', '0:www-data'],
      ['0644', 'root:root'],
    ],
  );
  assert.equal(resolved.identity, {
    hostname: 'web-07',
    machineId: 'generate',
    sshHostKeys: { mode: 'generate', types: ['ed25519', 'rsa', 'ecdsa'] },
  });
  assert.is(resolved.network, undefined);
});

test('crypt hashes of every kind are accepted', async () => {
  const a = (count: number) => 'a'.repeat(count);
  const hashes = [
    `$y$j9T$${a(22)}$${a(43)}`,
    `$6$salt$${a(86)}`,
    `$6$rounds=5000$salt$${a(86)}`,
    `$5$salt$${a(43)}`,
    `$2b$12$${a(53)}`,
    `$1$salt$${a(22)}`,
    `!$6$salt$${a(86)}`,
    '*',
    '!',
  ];
  const users = hashes.map((hash, i) => `{name: u${i}, hashed_passwd: "${hash}"}`).join(', ');
  assert.equal(
    (await load(`${head}users: [${users}]\n`)).resolved.users.map((user) => user.hashedPassword),
    hashes,
  );
});

test('network files may be written where the profile leaves the network alone', async () => {
  assert.equal(await check(`${head}write_files: [{path: /etc/netplan/a.yaml, content: x}]\n`), []);
});

test('the search: given directories first, then the shipped ones; .yaml before .yml', () =>
  withFiles(
    { 'a/base.yaml': `${v1}target: a\n`, 'b/base.yaml': `${v1}target: b\n`, 'c/base.yml': `${v1}target: c\n` },
    async (directory) => {
      const target = async (...path: string[]) =>
        (await load(`${head}extends: base\n`, { searchPath: path.map((name) => `${directory}/${name}`) })).resolved.target;
      assert.is(await target('a', 'b'), 'a.target');
      assert.is(await target('b', 'a'), 'b.target');
      assert.is(await target('c'), 'c.target');
      assert.is(await target(), undefined);
    },
  ));

test('a diamond of bases is read once', () =>
  withFiles(
    {
      'top.yaml': `${v1}bad: 1\n`,
      'left.yaml': `${v1}extends: top\n`,
      'right.yaml': `${v1}extends: top\n`,
    },
    async (directory) => {
      const found = await check(`${head}extends: [left, right]\n`, { searchPath: [directory] });
      assert.equal(
        found.map((d) => d.code),
        ['E001'],
      );
    },
  ));

test('a chain of more bases than anybody needs is stopped', () => {
  const files = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`b${i}.yaml`, `${v1}extends: b${i + 1}\n`]));
  return withFiles(files, async (directory) => {
    const found = await check(`${head}extends: b0\n`, { searchPath: [directory] });
    assert.equal(
      found.map((d) => d.code),
      ['E010'],
    );
  });
});

test('a base is checked on its own: no host, variables left open, every role', async () => {
  const text = `${v1}network: {ethernets: {a: {addresses: ["{{ ip }}/24"]}}}\nroles: {x: {services: {enable: [a], mask: [a]}}}\n`;
  assert.equal(
    (await check(text, { base: true })).map((d) => d.code),
    ['E013'],
  );
  assert.equal(
    (await check(text)).map((d) => d.code),
    ['E031', 'E011'],
  );
});

test('a profile that is not there, or is a directory, is a typed error', async () => {
  const missing = await failure(ProfileError, () => loadProfile('/nonexistent/web.yaml'));
  assert.is(missing.code, 'PROFILE_NOT_FOUND');
  await withFiles({}, async (directory) => {
    assert.is((await failure(ProfileError, () => checkProfile(directory))).code, 'PROFILE_UNREADABLE');
  });
});

test.run();
