/** The files of a small Debian server: nothing that boots, but everything that says who it is, and how it is set up. */
import { chmodSync, chownSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { noise } from './noise.ts';

export interface Identity {
  readonly hostname: string;
  readonly fqdn: string;
  /** 32 hex digits. */
  readonly machineId: string;
  /** With prefix length. */
  readonly address: string;
  readonly gateway: string;
}

/** UUIDs that the configuration refers to. */
export interface FilesystemIds {
  readonly root: string;
  readonly swap: string;
  readonly data: string;
  /** As fstab writes a FAT serial: `5EED-0001`. */
  readonly esp: string;
}

export const kernelVersion = '6.1.0-41-amd64';

/** Files on the root file system by path, with their text; mode 0644 unless `modes` says otherwise. */
function textFiles(who: Identity, ids: FilesystemIds): Record<string, string> {
  const unit = (description: string, start: string, install: string): string =>
    `[Unit]\nDescription=${description}\nAfter=network.target\n\n[Service]\nExecStart=${start}\n\n[Install]\n${install}\n`;
  const units = 'usr/lib/systemd/system';
  const modules = `usr/lib/modules/${kernelVersion}`;
  return {
    'etc/os-release': osRelease,
    'usr/lib/os-release': osRelease,
    'etc/debian_version': '12.11\n',
    'etc/hostname': `${who.hostname}\n`,
    'etc/hosts': `127.0.0.1\tlocalhost\n127.0.1.1\t${who.fqdn} ${who.hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n${who.address.split('/')[0]}\t${who.fqdn} ${who.hostname}\n`,
    'etc/machine-id': `${who.machineId}\n`,
    'etc/fstab': `# <file system> <mount point> <type> <options> <dump> <pass>
UUID=${ids.root} /         ext4 errors=remount-ro 0 1
UUID=${ids.esp} /boot/efi vfat umask=0077,nofail 0 1
UUID=${ids.data} /srv/app  xfs  defaults 0 2
UUID=${ids.swap} none      swap sw 0 0
`,
    'etc/passwd': `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
admin:x:1000:1000:Administrator,,,:/home/admin:/bin/bash
sshd:x:101:65534::/run/sshd:/usr/sbin/nologin
postgres:x:102:105:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash
`,
    'etc/group': 'root:x:0:\ndaemon:x:1:\nadm:x:4:admin\nshadow:x:42:\nwww-data:x:33:\npostgres:x:105:\nadmin:x:1000:\n',
    // A hash of a word that nobody knows any more.
    'etc/shadow': `root:*:20000:0:99999:7:::
daemon:*:20000:0:99999:7:::
www-data:*:20000:0:99999:7:::
admin:$6$demodemodemo$Nm9ReuH4BoHwVJUdyqu1hY9H4MVIQ3Oh0v5yU3mPZqNnXlSgBRS7YUYIkVh1bW2PqGJcE0XvqPS1Y1EPb2Vqo/:20000:0:99999:7:::
sshd:!:20000::::::
postgres:!:20000::::::
`,
    'etc/systemd/network/10-lan.network': `[Match]\nName=en* eth*\n\n[Network]\nAddress=${who.address}\nGateway=${who.gateway}\nDNS=192.0.2.53\n`,
    'etc/ssh/sshd_config':
      'Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nPrintMotd no\nSubsystem sftp /usr/lib/openssh/sftp-server\n',
    'etc/modules': '# loaded at boot\n',
    'etc/default/grub': 'GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
    'etc/nginx/nginx.conf': 'user www-data;\nevents {}\nhttp { server { root /srv/app/www; } }\n',
    'boot/grub/grub.cfg': `set timeout=0
menuentry 'Debian GNU/Linux' {
  search --no-floppy --fs-uuid --set=root ${ids.root}
  linux /boot/vmlinuz-${kernelVersion} root=UUID=${ids.root} ro quiet
  initrd /boot/initrd.img-${kernelVersion}
}
`,
    [`${units}/multi-user.target`]: '[Unit]\nDescription=Multi-User System\nRequires=basic.target\nAllowIsolate=yes\n',
    [`${units}/graphical.target`]: '[Unit]\nDescription=Graphical Interface\nRequires=multi-user.target\nAllowIsolate=yes\n',
    [`${units}/rescue.target`]: '[Unit]\nDescription=Rescue Mode\nAllowIsolate=yes\n',
    [`${units}/ssh.service`]: unit(
      'OpenBSD Secure Shell server',
      '/usr/sbin/sshd -D',
      'WantedBy=multi-user.target\nAlias=sshd.service',
    ),
    [`${units}/nginx.service`]: unit('A high performance web server', '/usr/sbin/nginx', 'WantedBy=multi-user.target'),
    [`${units}/postgresql.service`]: unit('PostgreSQL RDBMS', '/bin/true', 'WantedBy=multi-user.target'),
    [`${units}/cron.service`]: unit(
      'Regular background program processing daemon',
      '/usr/sbin/cron -f',
      'WantedBy=multi-user.target',
    ),
    [`${units}/systemd-networkd.service`]: unit(
      'Network Configuration',
      '/lib/systemd/systemd-networkd',
      'WantedBy=multi-user.target\nAlso=systemd-networkd.socket\nAlias=dbus-org.freedesktop.network1.service',
    ),
    [`${units}/systemd-networkd.socket`]:
      '[Unit]\nDescription=Network Service Netlink Socket\n\n[Socket]\nListenNetlink=route 1361\n\n[Install]\nWantedBy=sockets.target\n',
    [`${modules}/modules.dep`]: [
      'kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko',
      'kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko',
      'kernel/net/core/failover.ko:',
      'kernel/drivers/net/bonding/bonding.ko: kernel/net/tls/tls.ko',
      'kernel/net/tls/tls.ko:',
      'kernel/drivers/net/dummy.ko:',
      'kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko:',
      'kernel/net/8021q/8021q.ko:',
      'kernel/drivers/input/misc/pcspkr.ko:',
      '',
    ].join('\n'),
    [`${modules}/modules.builtin`]: 'kernel/fs/ext4/ext4.ko\nkernel/drivers/block/virtio_blk.ko\n',
    [`${modules}/modules.alias`]: 'alias pci:v00001AF4d00001000sv*sd*bc*sc*i* virtio_net\n',
    'var/log/syslog': `Jun 15 12:00:00 ${who.hostname} systemd[1]: Reached target Multi-User System.\n`.repeat(2000),
    'var/www/html/index.html': '<h1>It works</h1>\n',
    'root/.bashrc': 'umask 022\n',
    'home/admin/notes.txt': 'Remember to renew the certificate.\n',
  };
}

const osRelease = `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
`;

const folders = [
  'boot/efi',
  'dev',
  'media',
  'mnt',
  'opt',
  'proc',
  'run',
  'srv/app',
  'sys',
  'tmp',
  'usr/bin',
  'usr/sbin',
  'usr/lib64',
  'var/cache',
  'var/tmp',
  'var/lib/dbus',
];

const links: Readonly<Record<string, string>> = {
  bin: 'usr/bin',
  sbin: 'usr/sbin',
  lib: 'usr/lib',
  lib64: 'usr/lib64',
  'usr/lib/systemd/system/default.target': 'graphical.target',
  'etc/systemd/system/multi-user.target.wants/ssh.service': '/lib/systemd/system/ssh.service',
  'etc/systemd/system/multi-user.target.wants/cron.service': '/lib/systemd/system/cron.service',
  'etc/systemd/system/multi-user.target.wants/nginx.service': '/lib/systemd/system/nginx.service',
  'etc/systemd/system/multi-user.target.wants/systemd-networkd.service': '/lib/systemd/system/systemd-networkd.service',
  'etc/systemd/system/sockets.target.wants/systemd-networkd.socket': '/lib/systemd/system/systemd-networkd.socket',
  'etc/systemd/system/dbus-org.freedesktop.network1.service': '/lib/systemd/system/systemd-networkd.service',
  'etc/systemd/system/sshd.service': '/lib/systemd/system/ssh.service',
  'var/lib/dbus/machine-id': '/etc/machine-id',
  'etc/resolv.conf': '../run/systemd/resolve/stub-resolv.conf',
};

/** Writes the tree into an empty folder. With root's rights files get their owners, else all belong to the caller. */
export async function writeTree(folder: string, who: Identity, ids: FilesystemIds): Promise<void> {
  for (const name of folders) mkdirSync(join(folder, name), { recursive: true });
  for (const [name, text] of Object.entries(textFiles(who, ids))) put(folder, name, text);
  for (const [name, target] of Object.entries(links)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    symlinkSync(target, join(folder, name));
  }
  put(folder, `boot/vmlinuz-${kernelVersion}`, noise('kernel', 6 << 20));
  put(folder, `boot/initrd.img-${kernelVersion}`, noise('initrd', 10 << 20));
  put(folder, 'usr/lib/libdemo.so.1', noise('library', 3 << 20));
  // A file with a hole of 32 MiB.
  put(folder, 'var/lib/sparse.db', noise('sparse', 1 << 20));
  truncateSync(join(folder, 'var/lib/sparse.db'), 33 << 20);
  await writeHostKeys(folder, who);

  for (const [name, [uid, gid, mode]] of Object.entries(owners)) {
    if (process.getuid?.() === 0) chownSync(join(folder, name), uid, gid);
    chmodSync(join(folder, name), mode);
  }
}

const owners: Readonly<Record<string, readonly [uid: number, gid: number, mode: number]>> = {
  '.': [0, 0, 0o755],
  'etc/shadow': [0, 42, 0o640],
  'etc/machine-id': [0, 0, 0o444],
  root: [0, 0, 0o700],
  'home/admin': [1000, 1000, 0o755],
  'home/admin/notes.txt': [1000, 1000, 0o600],
  tmp: [0, 0, 0o1777],
  'var/tmp': [0, 0, 0o1777],
};

function put(folder: string, name: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), content, { mode: 0o644 });
}

async function writeHostKeys(folder: string, who: Identity): Promise<void> {
  for (const type of ['ed25519', 'ecdsa', 'rsa']) {
    await execa('ssh-keygen', [
      '-q',
      '-t',
      type,
      '-N',
      '',
      '-C',
      `root@${who.hostname}`,
      '-f',
      join(folder, `etc/ssh/ssh_host_${type}_key`),
    ]);
  }
}
