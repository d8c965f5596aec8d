/** SSH host keys: the source's go, with their certificates; the bundle's come in. */
import type { OverlayTree } from '../overlay.ts';
import type { Operation } from './types.ts';

const directory = '/etc/ssh';

export const sshHostKeys: Operation = {
  name: 'ssh-host-keys',
  heading: 'SSH host keys',
  default: true,
  order: 300,
  touches: [`${directory}/ssh_host_*`],
  async plan(tree, { bundle, warn }) {
    const names = await tree.list(directory);
    if (!names) return;
    const keys = bundle.generated.sshHostKeys;
    const own = new Set(keys.flatMap(({ type }) => [`ssh_host_${type}_key`, `ssh_host_${type}_key.pub`]));
    for (const name of names) {
      if (name.startsWith('ssh_host_') && !own.has(name)) await tree.remove(`${directory}/${name}`, true);
    }
    for (const { type, privateKey, publicKey } of keys) {
      const path = `${directory}/ssh_host_${type}_key`;
      await tree.write(path, privateKey, { mode: 0o600, uid: 0, gid: 0, secret: true, replaceLink: true });
      await tree.write(`${path}.pub`, publicKey, { mode: 0o644, uid: 0, gid: 0, replaceLink: true });
    }
    if (keys.length === 0 && (await tree.stat('/usr/sbin/sshd')))
      warn('The bundle has no SSH host keys: sshd of the target will not start');
    for (const path of await configuredKeys(tree)) {
      if (!own.has(path.slice(directory.length + 1)))
        warn(`sshd_config names the host key ${path}, which is not in the bundle: check that it is not shared with the source`);
    }
  },
};

/** Paths of `HostKey` lines (sshd_config(5)). */
async function configuredKeys(tree: OverlayTree): Promise<string[]> {
  const snippets = ((await tree.list(`${directory}/sshd_config.d`)) ?? []).filter((name) => name.endsWith('.conf'));
  const paths: string[] = [];
  for (const file of [`${directory}/sshd_config`, ...snippets.map((name) => `${directory}/sshd_config.d/${name}`)]) {
    const text = (await tree.readText(file, 'latin1')) ?? '';
    for (const match of text.matchAll(/^[ \t]*HostKey[ \t=]+"?([^\s"]+)/gim)) paths.push(match[1] ?? '');
  }
  return paths;
}
