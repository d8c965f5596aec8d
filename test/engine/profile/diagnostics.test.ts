import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { diagnostic, diagnosticCodes, formatDiagnostic, ProfileInvalidError } from '../../../src/engine/profile/diagnostic.ts';
import { checkSet } from '../../../src/engine/profile/set.ts';
import { check, expectAt, failure, head, load, marks, withFiles } from './support.ts';

interface Case {
  readonly code: keyof typeof diagnosticCodes;
  readonly path: string;
  /** Follows `head`; § marks where the diagnostic points. */
  readonly text: string;
  readonly message?: RegExp;
  /** The text is the whole file. */
  readonly whole?: boolean;
}

const lan = (settings: string) => `network:\n  ethernets:\n    lan0:\n      ${settings}\n`;
const hash = `$6$saltsalt$${'a'.repeat(86)}`;

const cases: readonly Case[] = [
  { code: 'E000', path: '', text: 'role: [a, b\n§', message: /^not YAML: / },
  {
    code: 'E000',
    path: '',
    text: 'identity:\n  hostname: a\n  hostname: b\n'.replace('hostname: b', '§hostname: b'),
    message: /second time.*line 4/,
  },
  { code: 'E000', path: '', text: 'identity:\n§\thostname: a\n', message: /[Tt]ab/ },
  { code: 'E001', path: 'hots', text: '§hots: x\n', message: /did you mean "host"\?/ },
  {
    code: 'E001',
    path: 'identity.machine_id',
    text: 'identity:\n  §machine_id: generate\n',
    message: /did you mean "machineId"\?/,
  },
  { code: 'E001', path: 'zzzzzz', text: '§zzzzzz: 1\n', message: /known keys are apiVersion, description/ },
  { code: 'E001', path: 'network.ethernets.lan0.gatway4', text: lan('§gatway4: 10.0.0.1'), message: /did you mean "gateway4"\?/ },
  { code: 'E001', path: 'roles.web.servcies', text: 'roles:\n  web: {§servcies: {}}\n', message: /did you mean "services"\?/ },
  { code: 'E001', path: 'write_files[0].defer', text: 'write_files: [{path: /a, content: b, §defer: true}]\n' },
  { code: 'E002', path: 'identity.hostname', text: 'identity: {hostname: §web_7}\n', message: /"web_7" is not a host name/ },
  { code: 'E002', path: 'identity.hostname', text: 'identity: {hostname: §-a}\n' },
  { code: 'E002', path: 'identity.hostname', text: `identity: {hostname: §${'a'.repeat(64)}}\n` },
  { code: 'E002', path: 'identity.hostname', text: 'identity: {hostname: §7}\n', message: /put it in quotes/ },
  { code: 'E002', path: 'identity.fqdn', text: 'identity: {fqdn: §web-07}\n', message: /full domain name/ },
  { code: 'E003', path: 'identity.machineId', text: `identity: {machineId: §"${'0'.repeat(32)}"}\n` },
  { code: 'E003', path: 'identity.machineId', text: `identity: {machineId: §"${'A'.repeat(32)}"}\n` },
  {
    code: 'E003',
    path: 'identity.machineId',
    text: 'identity: {machineId: §12345678901234567890123456789012}\n',
    message: /in quotes/,
  },
  {
    code: 'E005',
    path: 'network.ethernets.lan0.addresses[1]',
    text: lan('addresses: [10.0.0.2/24, §10.0.0.1]'),
    message: /10\.20\.0\.17\/24/,
  },
  { code: 'E005', path: 'network.ethernets.lan0.addresses[0]', text: lan('addresses: [§10.0.0.1/33]') },
  { code: 'E005', path: 'network.ethernets.lan0.addresses[0]', text: lan('addresses: [§10.0.0.256/24]') },
  { code: 'E005', path: 'network.ethernets.lan0.addresses[0]', text: lan('addresses: [§10.0.0.01/24]') },
  { code: 'E005', path: 'network.ethernets.lan0.addresses[0]', text: lan('addresses: [§"2001:db8::1/129"]') },
  { code: 'E005', path: 'network.ethernets.lan0.addresses[0]', text: lan('addresses: [§"2001:db8:::1/64"]') },
  { code: 'E005', path: 'network.ethernets.lan0.addresses[0]', text: lan('addresses: [§"fe80::1%eth0/64"]') },
  { code: 'E005', path: 'network.ethernets.lan0.addresses[0]', text: lan('addresses: [§224.0.0.1/24]') },
  { code: 'E005', path: 'network.ethernets.lan0.macaddress', text: lan('macaddress: §"52:54:00:aa:bb"') },
  {
    code: 'E005',
    path: 'network.ethernets.lan0.nameservers.addresses[0]',
    text: lan('nameservers: {addresses: [§10.0.0.1/24]}'),
  },
  { code: 'E005', path: 'network.ethernets.lan0.gateway4', text: lan('gateway4: §"2001:db8::1"\n      dhcp6: true') },
  {
    code: 'E005',
    path: 'network.ethernets.lan0.routes[0].via',
    text: lan('{dhcp6: true, routes: [{to: 10.0.0.0/8, via: §"2001:db8::1"}]}'),
  },
  {
    code: 'E006',
    path: 'network.ethernets.lan0.gateway4',
    text: lan('addresses: [10.0.0.1/24]\n      gateway4: §10.0.1.1'),
    message: /10\.0\.0\.1\/24/,
  },
  {
    code: 'E006',
    path: 'network.ethernets.lan0.routes[0].via',
    text: lan('{addresses: ["2001:db8::1/64"], routes: [{to: default, via: §"2001:db8:0:1::1"}]}'),
  },
  { code: 'E006', path: 'network.ethernets.lan0.gateway4', text: lan('gateway4: §10.0.1.1') },
  { code: 'E007', path: 'network.ethernets.lan0.set-name', text: lan('set-name: §lan0') },
  { code: 'E007', path: 'network.ethernets.lan0.set-name', text: lan('{match: {}, set-name: §lan0}') },
  { code: 'E010', path: 'extends[1]', text: 'extends: [base, §bse]\n', message: /there are active, base, example-web, standby/ },
  { code: 'E010', path: 'extends', text: 'extends: §../base\n' },
  {
    code: 'E011',
    path: 'identity.fqdn',
    text: 'vars: {dom: x}\nidentity: {fqdn: §"{{ host }}.{{ domain }}"}\n',
    message: /"domain" is not defined.*dom, host, hostname/,
  },
  { code: 'E011', path: 'write_files[0].content', text: 'write_files: [{path: /a, content: §"{{ a b }}"}]\n', message: /\\\{\{/ },
  { code: 'E011', path: 'vars.a', text: 'vars:\n  a: §"{{ b }}"\n  b: "{{ a }}"\n', message: /b -> a -> b/ },
  {
    code: 'E011',
    path: 'users[0].hashed_passwd.secret',
    text: 'users: [{name: root, hashed_passwd: {secret: §gone}}]\n',
    message: /secrets/,
  },
  { code: 'E012', path: 'role', text: 'role: §wbe\nroles: {web: {}, db: {}}\n', message: /defined are web, db/ },
  { code: 'E012', path: 'role', text: 'role: §web\n', message: /no roles are defined/ },
  { code: 'E013', path: 'services.disable[0]', text: 'services: {enable: [nginx], disable: [§nginx.service]}\n' },
  {
    code: 'E013',
    path: 'roles.web.services.mask[0]',
    text: 'role: web\nservices: {enable: [nginx]}\nroles: {web: {services: {mask: [§nginx]}}}\n',
    message: /line 4/,
  },
  { code: 'E015', path: 'drivers.blacklist[0]', text: 'drivers: {load: [br_netfilter], blacklist: [§br-netfilter]}\n' },
  { code: 'E018', path: 'secrets.pw', text: 'secrets: {pw: §hunter2}\n', message: /\{file: \/path\}/ },
  { code: 'E018', path: 'secrets.pw', text: 'secrets:\n  §pw: {value: hunter2}\n' },
  {
    code: 'E018',
    path: 'users[0].plain_text_passwd',
    text: `users: [{name: root, hashed_passwd: "*", plain_text_passwd: §x}]\n`,
  },
  {
    code: 'E018',
    path: 'write_files[0].content',
    text: 'write_files: [{path: /k, content: §"-----BEGIN RSA PRIVATE KEY-----"}]\n',
  },
  { code: 'E019', path: 'write_files[0].path', text: 'write_files: [{path: §etc/motd, content: a}]\n' },
  { code: 'E019', path: 'write_files[0].path', text: 'write_files: [{path: §/etc/../root/x, content: a}]\n' },
  { code: 'E019', path: 'write_files[0].path', text: 'write_files: [{path: §/etc/, content: a}]\n' },
  { code: 'E019', path: 'write_files[0].path', text: 'write_files: [{path: §"/etc/a\\nb", content: a}]\n' },
  {
    code: 'E020',
    path: 'write_files[0].permissions',
    text: 'write_files: [{path: /a, permissions: §0644, content: a}]\n',
    message: /in quotes, as "0644"/,
  },
  { code: 'E020', path: 'write_files[0].permissions', text: 'write_files: [{path: /a, permissions: §"0888", content: a}]\n' },
  { code: 'E020', path: 'write_files[0].permissions', text: 'write_files: [{path: /a, permissions: §rw-r--r--, content: a}]\n' },
  {
    code: 'E021',
    path: 'write_files[1].path',
    text: 'write_files:\n  - {path: /a, content: a}\n  - {path: §/a, content: b}\n',
    message: /line 4/,
  },
  {
    code: 'E021',
    path: 'write_files[0].path',
    text: 'write_files:\n  - {path: §/a/b, content: a}\n  - {path: /a, content: b}\n',
    message: /lies under/,
  },
  {
    code: 'E022',
    path: 'write_files[0].path',
    text: 'write_files: [{path: §/etc/hosts, content: a}]\n',
    message: /identity\.hostname/,
  },
  { code: 'E022', path: 'write_files[0].path', text: 'write_files: [{path: §/etc/ssh/ssh_host_rsa_key, content: a}]\n' },
  { code: 'E022', path: 'write_files[0].path', text: 'write_files: [{path: §/etc/shadow, content: a}]\n' },
  {
    code: 'E022',
    path: 'write_files[0].path',
    text: 'network: {}\nwrite_files: [{path: §/etc/netplan/a.yaml, content: a}]\n',
    message: /network/,
  },
  {
    code: 'E022',
    path: 'write_files[0].path',
    text: 'write_files: [{path: §/etc/modprobe.d/doppel.conf, content: a}]\n',
    message: /drivers/,
  },
  {
    code: 'E023',
    path: 'users[0].hashed_passwd',
    text: 'users: [{name: root, hashed_passwd: §hunter2}]\n',
    message: /^(?!.*hunter2).*not a crypt hash/,
  },
  { code: 'E023', path: 'users[0].hashed_passwd', text: 'users: [{name: root, hashed_passwd: §4711}]\n', message: /^(?!.*4711)/ },
  { code: 'E023', path: 'users[0].hashed_passwd', text: `users: [{name: root, hashed_passwd: §"${hash}:0"}]\n` },
  {
    code: 'E026',
    path: 'network.ethernets.lan1.routes[0]',
    text: 'network:\n  ethernets:\n    lan0: {addresses: [10.0.0.2/24], gateway4: 10.0.0.1}\n    lan1: {addresses: [10.1.0.2/24], routes: [§{to: 0.0.0.0/0, via: 10.1.0.1}]}\n',
    message: /line 5/,
  },
  { code: 'E028', path: 'network.vlans.v1.link', text: 'network: {vlans: {v1: {id: 1, link: §lan0}}}\n' },
  {
    code: 'E028',
    path: 'network.bonds.b0.interfaces[1]',
    text: 'network: {ethernets: {lan0: {}}, bonds: {b0: {interfaces: [lan0, §lan1]}}}\n',
    message: /defined are lan0, b0/,
  },
  {
    code: 'E028',
    path: 'network.bridges.br0.interfaces[0]',
    text: 'network: {ethernets: {lan0: {}}, bonds: {b0: {interfaces: [lan0]}}, bridges: {br0: {interfaces: [§lan0]}}}\n',
    message: /b0 already/,
  },
  {
    code: 'E028',
    path: 'network.bonds.b0.parameters.primary',
    text: 'network: {ethernets: {a: {}, b: {}}, bonds: {b0: {interfaces: [a], parameters: {primary: §b}}}}\n',
  },
  {
    code: 'E028',
    path: 'network.vlans.v1',
    text: 'network: {vlans: {v1: §{id: 1, link: br0}}, bridges: {br0: {interfaces: [v1]}}}\n',
    message: /lies above itself/,
  },
  {
    code: 'E029',
    path: 'identity.iscsi',
    text: 'identity: {§iscsi: {initiator: "iqn.2024-01.net.example:web"}}\n',
    message: /not supported yet by this version/,
  },
  { code: 'E029', path: 'identity.nvme', text: 'identity: {§nvme: {hostid: x}}\n' },
  { code: 'E029', path: 'identity.uuids.partitions', text: 'identity: {uuids: {filesystems: keep, partitions: §regenerate}}\n' },
  { code: 'E029', path: 'kernelCmdline', text: '§kernelCmdline: {append: [hugepages=64]}\n' },
  { code: 'E029', path: 'roles.a.drivers.initramfs', text: 'roles: {a: {drivers: {§initramfs: [nvme]}}}\n' },
  { code: 'E030', path: 'services', text: 'services: §[nginx]\n', message: /this is a list; it must be a mapping/ },
  { code: 'E030', path: 'services.enable[0]', text: 'services: {enable: [§"a b"]}\n', message: /unit name/ },
  { code: 'E030', path: 'target', text: 'target: §nginx.service\n', message: /target unit/ },
  { code: 'E030', path: 'network.ethernets.lan0.dhcp4', text: lan('dhcp4: §yes'), message: /true or false/ },
  { code: 'E030', path: 'network.ethernets.lan0.mtu', text: lan('mtu: §20') },
  {
    code: 'E030',
    path: 'network.bonds.b0.parameters.mode',
    text: 'network: {bonds: {b0: {parameters: {mode: §1}}}}\n',
    message: /802\.3ad/,
  },
  { code: 'E030', path: 'network.vlans["a/b"]', text: 'network: {ethernets: {e: {}}, vlans: {§a/b: {id: 1, link: e}}}\n' },
  {
    code: 'E030',
    path: 'users[1].name',
    text: 'users:\n  - {name: root, hashed_passwd: "*"}\n  - {name: §root, hashed_passwd: "!"}\n',
  },
  { code: 'E030', path: 'drivers.options.ixgbe.x', text: 'drivers: {options: {ixgbe: {x: §1.5}}}\n' },
  { code: 'E030', path: 'drivers.options.ixgbe.x', text: 'drivers: {options: {ixgbe: {x: §"a\\noptions b"}}}\n' },
  { code: 'E030', path: 'services.enable+', text: 'services: {§enable+: nginx}\n', message: /enable\+: \[/ },
  { code: 'E030', path: 'vars.host', text: 'vars: {§host: a}\n', message: /built in/ },
  { code: 'E030', path: 'vars.a', text: 'vars: {a: §[1]}\n' },
  { code: 'E030', path: 'apiVersion', whole: true, text: 'apiVersion: §doppel/v2\nhost: a\n' },
  { code: 'E031', path: 'apiVersion', whole: true, text: '§host: a\n' },
  { code: 'E031', path: 'host', whole: true, text: '§apiVersion: doppel/v1\n' },
  { code: 'E031', path: 'network.vlans.v1.id', text: 'network: {ethernets: {lan0: {}}, vlans: {v1: §{link: lan0}}}\n' },
  { code: 'E031', path: 'network.ethernets.lan0.routes[0]', text: lan('routes: [§{to: default}]') },
];

for (const [index, { code, path, text, message, whole }] of cases.entries()) {
  test(`${code} at ${path || 'its place'}: case ${index}`, () =>
    expectAt((whole ? '' : head) + text, [
      { code, path: code === 'E000' && path === '' ? pathOf(text) : path, ...(message ? { message } : {}) },
    ]));
}
/** Duplicate keys are found with their path, what the parser says has none. */
function pathOf(text: string): string {
  return text.includes('§hostname: b') ? 'identity.hostname' : '';
}

test('E025 and E027: what is not supported yet is still looked at', async () => {
  await expectAt(`${head}§kernelCmdline: {append: [a=b, §root=/dev/sda1, §systemd.machine_id=1]}\n`, [
    { code: 'E029', path: 'kernelCmdline' },
    { code: 'E025', path: 'kernelCmdline.append[1]' },
    { code: 'E025', path: 'kernelCmdline.append[2]' },
  ]);
  await expectAt(`${head}identity: {§iscsi: {initiator: §foo}, §nvme: {hostnqn: §bar}}\n`, [
    { code: 'E029', path: 'identity.iscsi' },
    { code: 'E027', path: 'identity.iscsi.initiator' },
    { code: 'E029', path: 'identity.nvme' },
    { code: 'E027', path: 'identity.nvme.hostnqn' },
  ]);
});

test('all diagnostics are reported, each in the file in which its value stands', () =>
  withFiles(
    { 'site.yaml': 'apiVersion: doppel/v1\nservices:\n  enable: [nginx]\n  disable: [cron]\nwrong: 1\n' },
    async (directory) => {
      const text = `${head}extends: [site, gone]\nrole: x\nservices:\n  mask: [nginx]\n`;
      const found = await check(text, { searchPath: [directory] });
      const shape = found.map((d) => `${d.code} ${d.file.replace(`${directory}/`, '')}:${d.line}:${d.column} ${d.path}`);
      assert.equal(shape, [
        'E010 web.yaml:3:17 extends[1]',
        'E012 web.yaml:4:7 role',
        'E013 web.yaml:6:10 services.mask[0]',
        'E001 site.yaml:5:1 wrong',
      ]);
    },
  ));

test('E009: a cycle is reported where it closes, and the rest of the profile is still checked', () =>
  withFiles(
    {
      'a.yaml': 'apiVersion: doppel/v1\nextends: [b]\n',
      'b.yaml': 'apiVersion: doppel/v1\nextends: [a]\nbad: 1\n',
    },
    async (directory) => {
      const found = await check(`${head}extends: a\n`, { searchPath: [directory] });
      assert.equal(
        found.map((d) => `${d.code} ${d.line}:${d.column}`),
        ['E009 2:11', 'E001 3:1'],
      );
      assert.match(found[0]?.message ?? '', /a\.yaml -> b\.yaml -> a\.yaml/);
      assert.is(found[0]?.file, `${directory}/b.yaml`);
    },
  ));

test('E009: a profile that extends its own file', () =>
  withFiles({ 'a.yaml': `${head}extends: [a]\n` }, async (directory) => {
    const { checkProfile } = await import('../../../src/engine/profile/load.ts');
    const found = await checkProfile(`${directory}/a.yaml`, { searchPath: [directory] });
    assert.equal(
      found.map((d) => d.code),
      ['E009'],
    );
  }));

test('E008: what two hosts of a set share, in any spelling', async () => {
  const one = await load(
    `${head}network: {ethernets: {a: {match: {macaddress: "52:54:00:AA:BB:07"}, addresses: [10.0.0.1/24, "2001:db8::1/64", "fe80::1/64"]}}}\n`,
  );
  const { text, places } = marks(
    'apiVersion: doppel/v1\nhost: db-01\nidentity: {hostname: §WEB-07}\nnetwork: {ethernets: {b: {macaddress: §"52-54-00-aa-bb-07", addresses: [§10.0.0.1/16, §"2001:db8:0::0:1/64", "fe80::1/64"]}}}\n',
  );
  const found = checkSet([one, await load(text)]);
  assert.equal(
    found.map((d) => d.code),
    ['E008', 'E008', 'E008', 'E008'],
  );
  const at = found.map((d) => [d.line, d.column] as [number, number]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  assert.equal(at, places);
  assert.match(found[0]?.message ?? '', /also belongs to web-07 \(web\.yaml, line 2\)/);
  assert.equal(checkSet([one]), []);
});

test('every code of the table is raised by some test or layer', () => {
  const elsewhere = ['E004', 'E008', 'E009', 'E014', 'E016', 'E017', 'E024', 'E025', 'E027'];
  const covered = new Set<string>([...cases.map((c) => c.code), ...elsewhere]);
  assert.equal(
    Object.keys(diagnosticCodes).filter((code) => !covered.has(code)),
    [],
  );
});

test('the error carries the list, says each of them, and has the exit code of a profile', async () => {
  const error = await failure(ProfileInvalidError, () => load('apiVersion: doppel/v1\nhost: a_b\nfoo: 1\n'));
  assert.is(error.exitCode, 5);
  assert.is(error.diagnostics.length, 2);
  assert.match(error.message, /web\.yaml:2:7: E002 host: .*\n {2}web\.yaml:/);
  assert.equal(error.data.diagnostics, error.diagnostics);
});

test('other layers raise theirs in the same shape', async () => {
  const loaded = await load(`${head}services:\n  enable: [a, b]\n`);
  const place = loaded.locate(['services', 'enable', 1]);
  assert.equal(
    formatDiagnostic(diagnostic('E014', 'no unit b', place.path, place)),
    'web.yaml:4:15: E014 services.enable[1]: no unit b',
  );
  assert.is(loaded.locate(['identity', 'machineId']).path, 'identity.machineId');
});

test('an undefined variable is reported once, not as a malformed value too', () =>
  expectAt(`${head}${lan('{addresses: [§"{{ ip }}/24"], gateway4: §"{{ gw }}"}')}`, [
    { code: 'E011', path: 'network.ethernets.lan0.addresses[0]' },
    { code: 'E011', path: 'network.ethernets.lan0.gateway4' },
  ]));

test.run();
