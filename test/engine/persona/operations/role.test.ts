/** What the role brings: services, default target, drivers, users, files. */
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ResolvedProfile } from '../../../../src/engine/profile/model.ts';
import { bundle } from '../bundles.ts';
import {
  inDirectory,
  isAt,
  linkAt,
  linksBelow,
  makeDebian,
  makeKernel,
  modeAt,
  personalize,
  plan,
  textAt,
  writeAt,
} from '../trees-on-disk.ts';

const config = 'etc/systemd/system';
const services = (set: Partial<ResolvedProfile['services']>) =>
  bundle({ services: { enable: [], disable: [], mask: [], ...set } });
const drivers = (set: Partial<ResolvedProfile['drivers']>) =>
  bundle({ drivers: { load: [], blacklist: [], options: {}, ...set } });

async function problemsOf(root: string, made: ReturnType<typeof bundle>): Promise<string[]> {
  return (await plan(root, made)).problems.map(({ code, path }) => `${code} ${path.join('.')}`);
}

test('services are enabled, disabled and masked by links; a masked one that is enabled is unmasked', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    linkAt(root, `${config}/ssh.service`, '/dev/null');
    await personalize(root, services({ enable: ['ssh'], disable: ['nginx.service'], mask: ['cron'] }));
    assert.equal(linksBelow(join(root, config)), [
      'cron.service -> /dev/null',
      'multi-user.target.wants/ssh.service -> /lib/systemd/system/ssh.service',
      'multi-user.target.wants/systemd-networkd.service -> /lib/systemd/system/systemd-networkd.service',
      'sshd.service -> /lib/systemd/system/ssh.service',
    ]);
    await personalize(root, services({ disable: ['sshd'] }));
    assert.not(isAt(root, `${config}/multi-user.target.wants/ssh.service`));
  }));

test('a unit that is not there, has only an init script, or is masked by its distribution is a problem', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    writeAt(root, 'etc/init.d/oldie', '#!/bin/sh\n', 0o755);
    linkAt(root, 'usr/lib/systemd/system/sudo.service', '/dev/null');
    writeAt(root, `${config}/admin.service`, '[Service]\nExecStart=/bin/true\n');
    const made = services({ enable: ['ngnix', 'oldie', 'sudo', '../../evil'], disable: ['nothing'], mask: ['admin'] });
    assert.equal((await problemsOf(root, made)).sort(), [
      'E014 services.disable.0',
      'E014 services.enable.0',
      'E014 services.enable.3',
      'P001 services.enable.1',
      'P001 services.enable.2',
      'P001 services.mask.0',
    ]);
  }));

test('a unit without [Install] is left as it is, with a warning', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    writeAt(root, 'usr/lib/systemd/system/static.service', '[Service]\nExecStart=/bin/true\n');
    const { problems, warnings } = await plan(root, services({ enable: ['static'] }));
    assert.equal(problems, []);
    assert.match(warnings.join('\n'), /static\.service has no \[Install\] section/);
  }));

test('the default target is a link, an equivalent one stays, a missing one is a problem', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    await personalize(root, bundle({ target: 'multi-user.target' }));
    assert.is(readlinkSync(join(root, `${config}/default.target`)), '/lib/systemd/system/multi-user.target');
    linkAt(root, `${config}/default.target`, '/usr/lib/systemd/system/multi-user.target');
    const { changes } = await plan(root, bundle({ target: 'multi-user' }));
    assert.not(changes.some(({ path }) => path.endsWith('default.target')));
    assert.equal(await problemsOf(root, bundle({ target: 'graphical.target' })), ['E014 target']);
    assert.equal(await problemsOf(root, bundle({ target: 'nginx.service' })), ['E014 target']);
  }));

test('drivers are written for boot and for modprobe, and go when the profile has none', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const made = drivers({
      load: ['ixgbe', 'nf-conntrack', 'virtio_console', 'net-pf-16-proto-9'],
      blacklist: ['nouveau'],
      options: { ixgbe: { allow_unsupported_sfp: 1, debug: true, text: 'two words', off: false } },
    });
    const { warnings } = await personalize(root, made);
    assert.match(
      textAt(root, 'etc/modules-load.d/doppel.conf'),
      /overwritten\.\nixgbe\nnf-conntrack\nvirtio_console\nnet-pf-16-proto-9\n$/,
    );
    assert.match(
      textAt(root, 'etc/modprobe.d/doppel.conf'),
      /overwritten\.\noptions ixgbe allow_unsupported_sfp=1 debug=1 text="two words" off=0\nblacklist nouveau\n$/,
    );
    assert.match(warnings.join(' '), /nouveau is not in the target's kernel.*initramfs/);
    await personalize(root, bundle());
    assert.not(isAt(root, 'etc/modules-load.d/doppel.conf'));
    assert.not(isAt(root, 'etc/modprobe.d/doppel.conf'));
  }));

test('a module must be there for every kernel of the target', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    makeKernel(root, '6.12.0-1-amd64');
    writeAt(root, 'usr/lib/modules/6.12.0-1-amd64/modules.dep', 'kernel/net/nf_conntrack.ko:\n');
    writeAt(root, 'usr/lib/modules/6.12.0-1-amd64/modules.alias', '');
    const { problems } = await plan(root, drivers({ load: ['ixgbe', 'nf_conntrack'], options: { nothere: { a: 1 } } }));
    assert.equal(
      problems.map(({ code, message, path }) => `${code} ${path.join('.')} ${message.replace(/.*kernel /, '')}`),
      [
        'E016 drivers.options.nothere 6.1.0-50-amd64',
        'E016 drivers.load.0 6.12.0-1-amd64',
        'E016 drivers.options.nothere 6.12.0-1-amd64',
      ],
    );
  }));

test('a module name or option that would break out of its line is a problem', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    assert.equal(await problemsOf(root, drivers({ load: ['ixgbe\ninstall x /bin/sh'] })), ['P005 drivers.load.0']);
    assert.equal(await problemsOf(root, drivers({ options: { ixgbe: { a: 'x\ninstall y' } } })), ['P005 drivers.options.ixgbe']);
  }));

test('a password hash replaces its field of shadow only, whose mode and owner stay', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const hash = '$y$j9T$abc/def.$xyz';
    const made = bundle(
      {
        users: [
          { name: 'alice', hashedPassword: hash },
          { name: 'root', hashedPassword: { secret: 'rootHash' } },
        ],
      },
      { secrets: { rootHash: '$6$s$h\n' } },
    );
    const { changes } = await personalize(root, made);
    assert.is(
      textAt(root, 'etc/shadow'),
      `root:$6$s$h:20254:0:99999:7:::\nwww-data:*:20254:0:99999:7:::\nalice:${hash}:20254:0:99999:7:::\n`,
    );
    const change = changes.find(({ path }) => path === '/etc/shadow');
    assert.ok(change?.secret);
    assert.equal(change?.after.type === 'file' && [change.after.mode, change.after.gid], [0o640, 42]);
  }));

test('a user that the target does not have, a missing secret and a hash with a colon are problems', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    writeAt(root, 'etc/passwd', `${textAt(root, 'etc/passwd')}nis:*:5000:5000::/:/bin/sh\n`);
    const made = bundle({
      users: [
        { name: 'bob', hashedPassword: 'x' },
        { name: 'nis', hashedPassword: 'x' },
        { name: 'root', hashedPassword: { secret: 'none' } },
        { name: 'alice', hashedPassword: 'a:b' },
      ],
    });
    assert.equal(await problemsOf(root, made), [
      'P002 users.0.name',
      'P002 users.1.name',
      'P003 users.2.hashed_passwd',
      'P005 users.3.hashed_passwd',
    ]);
  }));

const file = (path: string, owner: string, permissions = '0644', content: string | { secret: string } = 'x\n') => ({
  path,
  owner,
  permissions,
  content,
});

test("files are written with owners by the target's own passwd and group, and parents are created", () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const writeFiles = [
      file('/etc/keepalived/deep/local.conf', 'root', '0600'),
      file('/srv/a', 'www-data', '0640'),
      file('/srv/b', 'alice:keys', '4755'),
      file('/srv/c', '12:34'),
      file('/srv/d', '1000'),
      file('/srv/e', 'root:root', '0600', { secret: 'token' }),
    ];
    const { changes } = await personalize(root, bundle({ writeFiles }, { secrets: { token: 'hidden' } }));
    const owner = (path: string) => {
      const after = changes.find((change) => change.path === path)?.after;
      return after?.type === 'file' || after?.type === 'directory' ? `${after.mode.toString(8)} ${after.uid}:${after.gid}` : '';
    };
    const paths = ['/etc/keepalived/deep', '/etc/keepalived/deep/local.conf', '/srv/a', '/srv/b', '/srv/c', '/srv/d', '/srv/e'];
    assert.equal(paths.map(owner), ['755 0:0', '600 0:0', '640 33:34', '4755 1000:777', '644 12:34', '644 1000:1000', '600 0:0']);
    assert.is(modeAt(root, 'etc/keepalived'), '755');
    assert.is(textAt(root, 'srv/e'), 'hidden');
    assert.equal(
      changes.filter(({ secret, path }) => secret && path.startsWith('/srv')).map(({ path }) => path),
      ['/srv/e'],
    );
  }));

test('an owner that only this host has, a missing secret and bad permissions are problems', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const writeFiles = [
      file('/a', 'daemon'),
      file('/b', 'root:daemon'),
      file('/c', 'root', '0999'),
      file('/d', 'root', '0644', { secret: 'none' }),
    ];
    assert.equal(await problemsOf(root, bundle({ writeFiles })), [
      'P002 write_files.0.owner',
      'P002 write_files.1.owner',
      'P005 write_files.2.permissions',
      'P003 write_files.3.content',
    ]);
  }));

test('a file is written through a link inside the target, never to the host', () =>
  inDirectory(async (host) => {
    writeAt(host, 'canary', 'untouched');
    const root = join(host, 'root');
    makeDebian(root);
    linkAt(root, 'etc/app.conf', `${host}/canary`);
    linkAt(root, 'etc/dir', '../../../..');
    await personalize(root, bundle({ writeFiles: [file('/etc/app.conf', 'root'), file('/etc/dir/new', 'root')] }));
    assert.is(textAt(host, 'canary'), 'untouched');
    assert.is(textAt(root, `${host}/canary`), 'x\n');
    assert.is(textAt(root, 'new'), 'x\n');
    assert.equal(readdirSync(host).sort(), ['canary', 'root']);
  }));

test.run();
