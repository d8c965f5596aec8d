#!/usr/bin/env node
// Sees to it that the system tools are there which doppel runs: installs them as root on Debian and its kin, and says so
// first; elsewhere names what is missing. With --tests also those that only the tests need, with --boot those of the boot test, with --bench the programs that doppel is measured against.
// No npm package is used here.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Command, or absolute path of a file: its package on Debian, and on RPM systems. */
const always = {
  sfdisk: ['fdisk', 'util-linux'],
  'mkfs.ext4': ['e2fsprogs', 'e2fsprogs'],
  'mkfs.xfs': ['xfsprogs', 'xfsprogs'],
  'mkfs.vfat': ['dosfstools', 'dosfstools'],
  mcopy: ['mtools', 'mtools'],
  'ssh-keygen': ['openssh-client', 'openssh'],
  losetup: ['mount', 'util-linux'],
  mount: ['mount', 'util-linux'],
  unshare: ['util-linux', 'util-linux'],
  openssl: ['openssl', 'openssl'],
  setfattr: ['attr', 'attr'],
  nbdfuse: ['libnbd-bin', 'nbdfuse'],
};
const forTests = {
  sgdisk: ['gdisk', 'gdisk'],
  parted: ['parted', 'parted'],
  'qemu-img': ['qemu-utils', 'qemu-img'],
  nbdkit: ['nbdkit', 'nbdkit'],
  ddrescue: ['gddrescue', 'ddrescue'],
  'mkfs.btrfs': ['btrfs-progs', 'btrfs-progs'],
  'partclone.extfs': ['partclone', 'partclone'],
  setfacl: ['acl', 'acl'],
  systemctl: ['systemd', 'systemd'],
  script: ['bsdutils', 'util-linux'],
  ps: ['procps', 'procps-ng'],
  cryptsetup: ['cryptsetup-bin', 'cryptsetup'],
  pvcreate: ['lvm2', 'lvm2'],
  mkntfs: ['ntfs-3g', 'ntfsprogs'],
  'ntfs-3g': ['ntfs-3g', 'ntfs-3g'],
  'mkfs.exfat': ['exfatprogs', 'exfatprogs'],
  'mount.exfat-fuse': ['exfat-fuse', 'fuse-exfat'],
  'mkfs.f2fs': ['f2fs-tools', 'f2fs-tools'],
  mksquashfs: ['squashfs-tools', 'squashfs-tools'],
  xorrisofs: ['xorriso', 'xorriso'],
  'make-bcache': ['bcache-tools', 'bcache-tools'],
  patch: ['patch', 'patch'],
  'qemu-system-x86_64': ['qemu-system-x86', 'qemu-system-x86'],
  xz: ['xz-utils', 'xz'],
  zstd: ['zstd', 'zstd'],
  skopeo: ['skopeo', 'skopeo'],
  age: ['age', 'age'],
  '/usr/sbin/sshd': ['openssh-server', 'openssh-server'],
  ip: ['iproute2', 'iproute'],
  'docker-registry': ['docker-registry', 'docker-distribution'],
  bzip2: ['bzip2', 'bzip2'],
  zip: ['zip', 'zip'],
  unzip: ['unzip', 'unzip'],
};
const forBench = {
  nbdcopy: ['libnbd-bin', 'libnbd'],
  'qemu-img': ['qemu-utils', 'qemu-img'],
  'partclone.ext4': ['partclone', 'partclone'],
  rsync: ['rsync', 'rsync'],
  casync: ['casync', 'casync'],
  zstd: ['zstd', 'zstd'],
  '/usr/bin/time': ['time', 'time'],
  mmdebstrap: ['mmdebstrap', 'mmdebstrap'],
};
const forBoot = {
  mmdebstrap: ['mmdebstrap', 'mmdebstrap'],
  'qemu-system-x86_64': ['qemu-system-x86', 'qemu-system-x86-core'],
  '/usr/share/OVMF': ['ovmf', 'edk2-ovmf'],
  systemctl: ['systemd', 'systemd'],
  tar: ['tar', 'tar'],
};

const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'].filter(
  (folder) => folder !== '',
);

function installed(command) {
  if (command.startsWith('/')) return existsSync(command);
  return folders.some((folder) => {
    const file = join(folder, command);
    if (!existsSync(file)) return false;
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch (error) {
      if (error.code === 'EACCES') return false;
      throw error;
    }
  });
}

function packages(wanted, system) {
  return [...new Set(wanted.map(([, names]) => names[system]))].sort().join(' ');
}

const isDebian =
  existsSync('/etc/debian_version') ||
  /^ID(_LIKE)?=.*(debian|ubuntu)/m.test(existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '');

function run(command, args) {
  const { status, error } = spawnSync(command, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (error) throw error;
  if (status !== 0) fail(`\`${command} ${args.join(' ')}\` failed, see above.`);
}

function fail(message) {
  process.stderr.write(`setup: ${message}\n`);
  process.exit(1);
}

const tools = Object.entries({
  ...always,
  ...(process.argv.includes('--tests') ? forTests : {}),
  ...(process.argv.includes('--boot') ? forBoot : {}),
  ...(process.argv.includes('--bench') ? forBench : {}),
});
const missing = tools.filter(([command]) => !installed(command));
if (missing.length > 0) {
  const commands = missing.map(([command]) => command).join(', ');
  if (!isDebian || process.getuid() !== 0) {
    fail(
      `these commands are missing: ${commands}\n  Install them as root, on Debian and Ubuntu:  apt-get install ${packages(missing, 0)}\n  on Fedora, RHEL and their kin:               dnf install ${packages(missing, 1)}\n  and run this again.`,
    );
  }
  process.stdout.write(`setup: ${commands} missing; installing with apt-get: ${packages(missing, 0)}\n`);
  run('apt-get', ['update', '-q']);
  run('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...packages(missing, 0).split(' ')]);
  const still = missing.filter(([command]) => !installed(command)).map(([command]) => command);
  if (still.length > 0) fail(`still missing after the installation: ${still.join(', ')}`);
}
