/** Host name, hosts, machine id, SSH keys, random seed. */
import { execFileSync } from 'node:child_process';
import { lstatSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifySystem } from '../../../../src/engine/persona/system.ts';
import { DirectoryTree } from '../../../../src/engine/persona/trees/directory.ts';
import type { Bundle } from '../../../../src/engine/profile/model.ts';
import { bundle, lan, newMachineId } from '../bundles.ts';
import {
  inDirectory,
  isAt,
  linkAt,
  makeDebian,
  modeAt,
  oldMachineId,
  personalize,
  plan,
  textAt,
  writeAt,
} from '../trees-on-disk.ts';

const named = (hostname: string, fqdn?: string, rest: Partial<Bundle['resolved']> = {}) =>
  bundle({
    identity: { hostname, ...(fqdn ? { fqdn } : {}), machineId: 'generate', sshHostKeys: { mode: 'generate', types: [] } },
    network: lan,
    ...rest,
  });

async function hostsAfter(hosts: string, made: Bundle, before: (root: string) => void = () => {}): Promise<string> {
  let result = '';
  await inDirectory(async (root) => {
    makeDebian(root);
    writeAt(root, 'etc/hosts', hosts);
    before(root);
    await personalize(root, made);
    result = textAt(root, 'etc/hosts');
  });
  return result;
}

test('the host name goes to hostname, hosts and mailname, and nowhere else', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    writeAt(root, 'etc/mailname', 'source-01.example.net\n');
    writeAt(root, 'etc/machine-info', 'PRETTY_HOSTNAME="source-01"\n');
    await personalize(root, named('web-07', 'web-07.example.net'));
    assert.is(textAt(root, 'etc/hostname'), 'web-07\n');
    assert.is(textAt(root, 'etc/mailname'), 'web-07.example.net\n');
    assert.is(textAt(root, 'etc/machine-info'), 'PRETTY_HOSTNAME="source-01"\n');
    assert.is(
      textAt(root, 'etc/hosts'),
      '127.0.0.1\tlocalhost\n127.0.1.1\tweb-07.example.net web-07\n\n# others\n192.0.2.11 source-011 db-1\n',
    );
  }));

test('a mail name of the domain is not the host, and stays', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    writeAt(root, 'etc/mailname', 'example.net\n');
    await personalize(root, named('web-07'));
    assert.is(textAt(root, 'etc/mailname'), 'example.net\n');
  }));

test('hosts is edited by words: comments, other hosts, spacing, case and foreign bytes stay', async () => {
  const hosts = [
    '# source-01 was here: 127.0.1.1 source-01',
    '127.0.0.1   localhost',
    '127.0.1.1\tSource-01.Example.net   source-01 alias # source-01 itself',
    '::1 localhost ip6-localhost source-01',
    '10.20.0.17 source-01',
    '192.0.2.10 source-01 source-01.example.net',
    '192.0.2.12 my-source-01 source-01x',
    'not an address source-01',
    '\u00ff',
    '',
  ];
  const after = [...hosts];
  after[2] = '127.0.1.1\tweb-07.example.net web-07 alias # source-01 itself';
  after[3] = '::1 localhost ip6-localhost web-07';
  after[4] = '10.20.0.17 web-07';
  assert.is(await hostsAfter(hosts.join('\n'), named('web-07', 'web-07.example.net')), after.join('\n'));
});

test('the line of an address that stays the target, for want of a network in the profile, is renamed too', async () => {
  const { network: _, ...rest } = named('web-07').resolved;
  const made = { ...named('web-07'), resolved: rest };
  assert.match(
    await hostsAfter('127.0.1.1 source-01\n192.0.2.10 source-01.example.net\n', made),
    /192\.0\.2\.10 web-07\.example\.net\n/,
  );
});

test('without a fully qualified name the domain stays', async () => {
  assert.is(
    await hostsAfter('127.0.1.1 source-01.example.net source-01\n', named('web-07')),
    '127.0.1.1 web-07.example.net web-07\n',
  );
});

test('Debian gets a 127.0.1.1 line where there is none, and one with other names gets the new ones first', async () => {
  const made = named('web-07', 'web-07.example.net');
  assert.is(
    await hostsAfter('127.0.0.1 localhost\n# end\n', made),
    '127.0.0.1 localhost\n127.0.1.1\tweb-07.example.net web-07\n# end\n',
  );
  assert.is(await hostsAfter('127.0.1.1 other\n', made), '127.0.1.1 web-07.example.net web-07 other\n');
  assert.is(
    await hostsAfter('', made, (root) => rmSync(join(root, 'etc/hosts'))),
    '127.0.0.1\tlocalhost\n127.0.1.1\tweb-07.example.net web-07\n',
  );
});

test('a distribution that is not Debian gets no 127.0.1.1 line', async () => {
  const fedora = (root: string) => writeAt(root, 'usr/lib/os-release', 'ID=fedora\nVERSION_ID=40\n');
  assert.is(await hostsAfter('127.0.0.1 localhost\n', named('web-07'), fedora), '127.0.0.1 localhost\n');
});

test('the machine id is explicit, read-only, one for D-Bus too, and the last change', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const made = await personalize(root, named('web-07'));
    assert.is(textAt(root, 'etc/machine-id'), `${newMachineId}\n`);
    assert.is(modeAt(root, 'etc/machine-id'), '444');
    assert.is(readlinkSync(join(root, 'var/lib/dbus/machine-id')), '/etc/machine-id');
    assert.is(made.changes.at(-1)?.path, '/etc/machine-id');
  }));

test('a machine id that is a link, empty or uninitialized becomes a file with the id', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    for (const prepare of [
      () => linkAt(root, 'etc/machine-id', '/var/lib/dbus/machine-id'),
      () => writeAt(root, 'etc/machine-id', ''),
      () => writeAt(root, 'etc/machine-id', 'uninitialized\n'),
    ]) {
      rmSync(join(root, 'etc/machine-id'));
      writeAt(root, 'var/lib/dbus/machine-id.new', `${oldMachineId}\n`);
      prepare();
      await personalize(root, named('web-07'));
      assert.ok(lstatSync(join(root, 'etc/machine-id')).isFile());
      assert.is(textAt(root, 'etc/machine-id'), `${newMachineId}\n`);
    }
  }));

test("a malformed machine id and the source's are problems, and a kernel argument that would win is a warning", () =>
  inDirectory(async (root) => {
    makeDebian(root);
    for (const machineId of ['', 'uninitialized', '0'.repeat(32), newMachineId.toUpperCase()]) {
      const made = await plan(root, { ...named('web-07'), generated: { machineId, sshHostKeys: [] } });
      assert.equal(
        made.problems.map(({ code }) => code),
        ['E003'],
      );
    }
    const twin = await plan(root, named('web-07'), { sourceMachineId: newMachineId });
    assert.equal(
      twin.problems.map(({ code, path }) => [code, path]),
      [['E004', ['identity', 'machineId']]],
    );
    writeAt(root, 'boot/grub/grub.cfg', `linux /vmlinuz systemd.machine_id=${oldMachineId}\n`);
    assert.match((await plan(root, named('web-07'))).warnings.join('\n'), /grub\.cfg sets systemd\.machine_id=5eed/);
  }));

test("all the source's host keys and certificates go, and the bundle's come in with the right modes", () =>
  inDirectory(async (root) => {
    makeDebian(root);
    writeAt(root, 'etc/ssh/ssh_config', 'x\n');
    const key = join(root, 'new');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'root@web-07', '-f', key]);
    const keys = { type: 'ed25519', privateKey: textAt(root, 'new'), publicKey: textAt(root, 'new.pub') } as const;
    await personalize(root, bundle({}, { generated: { machineId: newMachineId, sshHostKeys: [keys] } }));
    assert.equal(readdirSync(join(root, 'etc/ssh')), ['ssh_config', 'ssh_host_ed25519_key', 'ssh_host_ed25519_key.pub']);
    assert.is(modeAt(root, 'etc/ssh/ssh_host_ed25519_key'), '600');
    assert.is(modeAt(root, 'etc/ssh/ssh_host_ed25519_key.pub'), '644');
    const printed = execFileSync('ssh-keygen', ['-lf', join(root, 'etc/ssh/ssh_host_ed25519_key')], { encoding: 'utf8' });
    const system = await identifySystem(new DirectoryTree(root));
    assert.is(system.sshHostKeys.length, 1);
    assert.ok(printed.includes(system.sshHostKeys[0]?.fingerprint ?? 'none'), printed);
  }));

test('a host key elsewhere that sshd is told to use is named in a warning', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    writeAt(
      root,
      'etc/ssh/sshd_config',
      '#HostKey /etc/ssh/no\nHostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /etc/pki/site_key\n',
    );
    const { warnings } = await plan(root, named('web-07'));
    assert.ok(
      warnings.some((text) => text.includes('/etc/pki/site_key')),
      warnings.join('\n'),
    );
    assert.not.match(warnings.join('\n'), /\/etc\/ssh\/no/);
  }));

test("the source's random seed goes with the copy, and the target's own stays", () =>
  inDirectory(async (root) => {
    makeDebian(root);
    await personalize(root, named('web-07'));
    assert.not(isAt(root, 'var/lib/systemd/random-seed'));
    writeAt(root, 'var/lib/systemd/random-seed', 'own', 0o600);
    assert.equal((await plan(root, named('web-07'))).changes, []);
  }));

test.run();
