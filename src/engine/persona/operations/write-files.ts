/** Files of the profile, with owners by the target's own /etc/passwd and /etc/group. */
import type { OverlayTree } from '../overlay.ts';
import type { Operation } from './types.ts';

export const writeFiles: Operation = {
  name: 'write-files',
  heading: 'Files that the profile brings',
  default: true,
  order: 700,
  touches: ['the paths in write_files'],
  async plan(tree, { bundle, problem }) {
    for (const [index, file] of bundle.resolved.writeFiles.entries()) {
      const at = (key: string) => ['write_files', index, key];
      const content = typeof file.content === 'string' ? file.content : bundle.secrets[file.content.secret];
      const owner = await ownerOf(tree, file.owner);
      const mode = /^[0-7]{3,4}$/.test(file.permissions) ? Number.parseInt(file.permissions, 8) : undefined;
      if (content === undefined) {
        problem({ code: 'P003', message: `the secret that ${file.path} holds is not in the bundle`, path: at('content') });
      } else if (typeof owner === 'string') {
        problem({ code: 'P002', message: `${file.path}: the target has no ${owner}`, path: at('owner') });
      } else if (mode === undefined) {
        problem({
          code: 'P005',
          message: `${file.path}: ${JSON.stringify(file.permissions)} are no octal permissions`,
          path: at('permissions'),
        });
      } else {
        const old = await tree.stat(file.path);
        // What only root could read before must not show up in a diff either.
        const secret = typeof file.content !== 'string' || (old !== undefined && !old.ownerless && (old.mode & 0o004) === 0);
        await tree.write(file.path, content, { mode, ...owner, secret });
      }
    }
  },
};

/** `user`, `user:group` or numbers; a user without group brings its own. A text names what the target does not have. */
async function ownerOf(tree: OverlayTree, owner: string): Promise<{ uid: number; gid: number } | string> {
  const [user = '', group] = owner.split(':');
  const account = await lookUp(tree, '/etc/passwd', user);
  const uid = number(user) ?? number(account?.[2]);
  if (uid === undefined) return `user ${user}`;
  if (group === undefined || group === '') {
    const byNumber = account ?? (await lookUp(tree, '/etc/passwd', user, 2));
    return { uid, gid: number(byNumber?.[3]) ?? uid };
  }
  const gid = number(group) ?? number((await lookUp(tree, '/etc/group', group))?.[2]);
  return gid === undefined ? `group ${group}` : { uid, gid };
}

function number(text: string | undefined): number | undefined {
  const value = text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
  return value !== undefined && value < 0xffffffff ? value : undefined;
}

async function lookUp(tree: OverlayTree, file: string, value: string, field = 0): Promise<string[] | undefined> {
  const lines = ((await tree.readText(file, 'latin1')) ?? '').split('\n').map((line) => line.split(':'));
  return lines.find((fields) => fields.length > 2 && fields[field] === value);
}
