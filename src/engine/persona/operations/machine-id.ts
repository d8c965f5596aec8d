/** The machine id, always explicit: a missing or `uninitialized` one makes systemd preset all units at the next boot. */
import type { Operation } from './types.ts';

const dbusFile = '/var/lib/dbus/machine-id';
/** Where a machine id on the kernel command line would come from; it would win over the file. */
const commandLines = ['/etc/default/grub', '/boot/grub/grub.cfg', '/boot/grub2/grub.cfg', '/etc/kernel/cmdline'];

export const machineId: Operation = {
  name: 'machine-id',
  heading: 'Machine id, written last of all',
  default: true,
  order: 1000,
  touches: [dbusFile, '/etc/machine-id'],
  async plan(tree, { bundle, sourceMachineId, problem, warn }) {
    const id = bundle.generated.machineId;
    if (!/^[0-9a-f]{32}$/.test(id) || /^0+$/.test(id)) {
      problem({
        code: 'E003',
        message: `the machine id ${JSON.stringify(id)} is not 32 lower-case hex digits`,
        path: ['identity', 'machineId'],
      });
      return;
    }
    if (id === sourceMachineId) {
      problem({ code: 'E004', message: `the machine id ${id} is the source's`, path: ['identity', 'machineId'] });
      return;
    }
    for (const path of commandLines) {
      const given = /systemd\.machine_id=(\S+)/.exec((await tree.readText(path, 'latin1')) ?? '')?.[1];
      if (given !== undefined && given !== id)
        warn(`${path} sets systemd.machine_id=${given}, which wins over /etc/machine-id: take it out`);
    }
    const dbus = await tree.lstat(dbusFile);
    if (dbus && (dbus.type !== 'symlink' || (await tree.realpath(dbusFile)) !== '/etc/machine-id')) {
      await tree.symlink(dbusFile, '/etc/machine-id');
    }
    await tree.write('/etc/machine-id', `${id}\n`, { mode: 0o444, uid: 0, gid: 0, replaceLink: true });
  },
};
