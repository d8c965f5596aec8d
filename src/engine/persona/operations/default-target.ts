/** What the target boots into, as `systemctl set-default` sets it. */
import { configDirectory, findUnit, unitName } from '../units/files.ts';
import type { Operation } from './types.ts';

const link = `${configDirectory}/default.target`;

export const defaultTarget: Operation = {
  name: 'default-target',
  heading: 'Default target of the role',
  default: true,
  order: 410,
  touches: [link],
  async plan(tree, { bundle, problem }) {
    const asked = bundle.resolved.target;
    if (asked === undefined) return;
    const name = asked.includes('.') ? unitName(asked) : `${asked}.target`;
    const unit = /[/\s]/.test(name) ? undefined : await findUnit(tree, name);
    if (!unit || !name.endsWith('.target')) {
      problem({ code: 'E014', message: `the target unit ${name} is not in the target`, path: ['target'] });
    } else if (unit.masked) {
      problem({ code: 'P001', message: `${name} is masked (${unit.path})`, path: ['target'] });
    } else if (!(await tree.lstat(link)) || (await tree.realpath(link)) !== (await tree.realpath(unit.path))) {
      await tree.symlink(link, unit.path);
    }
  },
};
