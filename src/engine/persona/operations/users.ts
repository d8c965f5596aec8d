/** Password hashes of users that the target has: one field of /etc/shadow (shadow(5)), nothing else in it. */
import { bytes } from '../overlay.ts';
import type { Operation } from './types.ts';

export const users: Operation = {
  name: 'users',
  heading: 'Password hashes',
  default: true,
  order: 600,
  touches: ['/etc/shadow'],
  async plan(tree, { bundle, problem }) {
    const wanted = bundle.resolved.users;
    if (wanted.length === 0) return;
    const accounts = new Map(
      ((await tree.readText('/etc/passwd', 'latin1')) ?? '').split('\n').map((line) => [line.split(':')[0], line.split(':')]),
    );
    const shadow = ((await tree.readText('/etc/shadow', 'latin1')) ?? '').split('\n').map((line) => line.split(':'));
    for (const [index, { name, hashedPassword }] of wanted.entries()) {
      const path = ['users', index, 'name'];
      const hash = typeof hashedPassword === 'string' ? hashedPassword : bundle.secrets[hashedPassword.secret]?.trim();
      const account = accounts.get(name);
      const line = shadow.find((fields) => fields[0] === name && fields.length > 1);
      if (hash === undefined) {
        const secret = typeof hashedPassword === 'string' ? '' : hashedPassword.secret;
        problem({ code: 'P003', message: `the secret ${secret} is not in the bundle`, path: ['users', index, 'hashed_passwd'] });
      } else if (/[:\s]/.test(hash)) {
        problem({
          code: 'P005',
          message: `the password hash of ${name} has a colon or white space in it`,
          path: ['users', index, 'hashed_passwd'],
        });
      } else if (!account) problem({ code: 'P002', message: `the user ${name} is not in the target's /etc/passwd`, path });
      else if (!line || account[1] !== 'x')
        problem({ code: 'P002', message: `the user ${name} has no password in the target's /etc/shadow`, path });
      else line[1] = hash;
    }
    if (await tree.stat('/etc/shadow'))
      await tree.write('/etc/shadow', bytes(shadow.map((fields) => fields.join(':')).join('\n')), { secret: true });
  },
};
