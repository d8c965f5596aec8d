/** Trees in temporary directories: small systems shaped like Debian, and what surrounds a test of them. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { applyPersona } from '../../../src/engine/persona/apply.ts';
import { type PersonaOptions, type PersonaPlan, planPersona } from '../../../src/engine/persona/plan.ts';
import { DirectoryTree } from '../../../src/engine/persona/trees/directory.ts';
import type { Bundle } from '../../../src/engine/profile/model.ts';

export type Backend = 'networkd' | 'netplan' | 'ifupdown' | 'NetworkManager' | 'none';

export const oldMachineId = '5eed00000004400080000000000000aa';

/** Runs `body` with a new empty directory, which is gone afterwards. */
export async function inDirectory(body: (directory: string) => Promise<void> | void): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'doppel-persona-'));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export function writeAt(root: string, path: string, content: string, mode = 0o644): void {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
}

export function linkAt(root: string, path: string, target: string): void {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  rmSync(file, { force: true });
  symlinkSync(target, file);
}

export function textAt(root: string, path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

export function modeAt(root: string, path: string): string {
  return (lstatSync(join(root, path)).mode & 0o7777).toString(8);
}

export function isAt(root: string, path: string): boolean {
  return existsSync(join(root, path));
}

const unit = (install: string) => `[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n\n[Install]\n${install}\n`;

/** A merged-/usr Debian with the files that the operations touch. */
export function makeDebian(root: string, backend: Backend = 'networkd'): void {
  mkdirSync(join(root, 'usr/lib/systemd/system'), { recursive: true });
  mkdirSync(join(root, 'usr/sbin'), { recursive: true });
  symlinkSync('usr/lib', join(root, 'lib'));
  symlinkSync('usr/sbin', join(root, 'sbin'));
  writeAt(
    root,
    'usr/lib/os-release',
    'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
  );
  linkAt(root, 'etc/os-release', '../usr/lib/os-release');
  writeAt(root, 'usr/lib/systemd/systemd', '', 0o755);
  linkAt(root, 'usr/sbin/init', '/lib/systemd/systemd');
  writeAt(root, 'etc/hostname', 'source-01\n');
  writeAt(
    root,
    'etc/hosts',
    '127.0.0.1\tlocalhost\n127.0.1.1\tsource-01.example.net source-01\n\n# others\n192.0.2.11 source-011 db-1\n',
  );
  writeAt(root, 'etc/machine-id', `${oldMachineId}\n`);
  writeAt(root, 'var/lib/dbus/machine-id', `${oldMachineId}\n`);
  writeAt(root, 'var/lib/systemd/random-seed', 'seed', 0o600);
  writeAt(
    root,
    'etc/passwd',
    'root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:34:www:/var/www:/bin/false\nalice:x:1000:1000::/home/alice:/bin/sh\n',
  );
  writeAt(root, 'etc/group', 'root:x:0:\nwww-data:x:34:\nshadow:x:42:\nkeys:x:777:\n');
  writeAt(root, 'etc/shadow', 'root:*:20254:0:99999:7:::\nwww-data:*:20254:0:99999:7:::\nalice:!:20254:0:99999:7:::\n', 0o640);
  chownSync(join(root, 'etc/shadow'), 0, 42);
  for (const type of ['rsa', 'ecdsa', 'ed25519']) {
    writeAt(root, `etc/ssh/ssh_host_${type}_key`, 'OLD PRIVATE KEY\n', 0o600);
    writeAt(root, `etc/ssh/ssh_host_${type}_key.pub`, `ssh-${type} T0xES0VZ root@source-01\n`);
  }
  writeAt(root, 'etc/ssh/ssh_host_rsa_key-cert.pub', 'ssh-rsa-cert-v01@openssh.com T0xE root@source-01\n');
  writeAt(root, 'usr/lib/systemd/system/multi-user.target', '[Unit]\nDescription=Multi-User System\n');
  writeAt(root, 'usr/lib/systemd/system/ssh.service', unit('WantedBy=multi-user.target\nAlias=sshd.service'));
  writeAt(root, 'usr/lib/systemd/system/nginx.service', unit('WantedBy=multi-user.target'));
  writeAt(root, 'usr/lib/systemd/system/cron.service', unit('WantedBy=multi-user.target'));
  writeAt(root, 'usr/lib/systemd/system/systemd-networkd.service', unit('WantedBy=multi-user.target'));
  linkAt(root, 'etc/systemd/system/multi-user.target.wants/nginx.service', '/lib/systemd/system/nginx.service');
  makeKernel(root, '6.1.0-50-amd64');
  makeNetwork(root, backend);
}

export function makeKernel(root: string, version: string): void {
  const directory = `usr/lib/modules/${version}`;
  writeAt(
    root,
    `${directory}/modules.dep`,
    'kernel/drivers/net/ixgbe/ixgbe.ko.xz: kernel/drivers/net/mdio.ko.xz\nkernel/net/nf_conntrack.ko:\n',
  );
  writeAt(root, `${directory}/modules.builtin`, 'kernel/drivers/char/virtio_console.ko\n');
  writeAt(
    root,
    `${directory}/modules.alias`,
    '# Aliases\nalias pci:v00008086d00001557sv*sd*bc*sc*i* ixgbe\nalias net-pf-16-proto-9 ixgbe\n',
  );
}

function makeNetwork(root: string, backend: Backend): void {
  const enable = (name: string) =>
    linkAt(root, `etc/systemd/system/multi-user.target.wants/${name}`, `/lib/systemd/system/${name}`);
  if (backend === 'networkd') {
    enable('systemd-networkd.service');
    writeAt(root, 'etc/systemd/network/10-lan.network', '[Match]\nName=en* eth*\n\n[Network]\nAddress=192.0.2.10/24\n');
    writeAt(root, 'etc/systemd/network/00-lo.network', '[Match]\nName=lo\n[Network]\nAddress=192.0.2.99/32\n');
    writeAt(root, 'etc/systemd/network/50-policy.link', '[Match]\nOriginalName=*\n[Link]\nNamePolicy=path\n');
    writeAt(root, 'etc/systemd/network/60-nic.link', '[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nName=wan0\n');
    linkAt(root, 'etc/systemd/network/99-default.link', '/dev/null');
  } else if (backend === 'netplan') {
    writeAt(root, 'usr/sbin/netplan', '', 0o755);
    writeAt(root, 'etc/netplan/50-cloud-init.yaml', 'network: {version: 2, ethernets: {eth0: {dhcp4: true}}}\n', 0o600);
    writeAt(root, 'etc/cloud/cloud.cfg', 'x\n');
  } else if (backend === 'ifupdown') {
    writeAt(
      root,
      'usr/lib/systemd/system/networking.service',
      unit('WantedBy=multi-user.target\nWantedBy=network-online.target'),
    );
    enable('networking.service');
    writeAt(
      root,
      'etc/network/interfaces',
      'source /etc/network/interfaces.d/*\nauto lo eth0\niface lo inet loopback\niface eth0 inet static\n  address 192.0.2.10/24\n',
    );
    writeAt(root, 'etc/network/interfaces.d/extra', 'auto eth1\niface eth1 inet dhcp\n');
    writeAt(root, 'etc/udev/rules.d/70-persistent-net.rules', 'SUBSYSTEM=="net", NAME="eth0"\n');
    writeAt(root, 'etc/resolv.conf', 'nameserver 192.0.2.53\n');
  } else if (backend === 'NetworkManager') {
    writeAt(root, 'usr/lib/systemd/system/NetworkManager.service', unit('WantedBy=multi-user.target'));
    enable('NetworkManager.service');
    writeAt(root, 'etc/NetworkManager/system-connections/Wired.nmconnection', '[connection]\nid=Wired\ntype=ethernet\n', 0o600);
    writeAt(root, 'etc/NetworkManager/system-connections/office.nmconnection', '[connection]\nid=office\ntype=vpn\n', 0o600);
  }
}

export function plan(root: string, bundle: Bundle, options?: PersonaOptions): Promise<PersonaPlan> {
  return planPersona(new DirectoryTree(root), bundle, options);
}

/** Plans and applies; answers the plan. The check that nothing is left is `applyPersona`'s own, and made once more here. */
export async function personalize(root: string, bundle: Bundle): Promise<PersonaPlan> {
  const made = await plan(root, bundle);
  await applyPersona(new DirectoryTree(root), made);
  const again = await plan(root, bundle);
  if (again.changes.length > 0) throw new Error(`not idempotent: ${again.changes.map((change) => change.path).join(', ')}`);
  return made;
}

/** Every link below a directory, as `path -> target`, sorted. */
export function linksBelow(directory: string, prefix = ''): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return linksBelow(path, `${prefix}${entry.name}/`);
      return entry.isSymbolicLink() ? [`${prefix}${entry.name} -> ${readlinkSync(path)}`] : [];
    })
    .sort();
}
