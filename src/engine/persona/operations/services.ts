/** Services of the role: enabled, disabled and masked by links, as `systemctl --root=` does it. */
import type { OverlayTree } from '../overlay.ts';
import type { ProblemCode } from '../problems.ts';
import { findByAlias, findUnit, type UnitFile, unitName } from '../units/files.ts';
import { disableUnit, enableUnit, maskUnit } from '../units/links.ts';
import type { Operation, OperationContext } from './types.ts';

export const services: Operation = {
  name: 'services',
  heading: 'Services that the role enables, disables and masks',
  default: true,
  order: 400,
  touches: ['/etc/systemd/system/*', '/etc/systemd/system/*.wants/*', '/etc/systemd/system/*.requires/*'],
  async plan(tree, context) {
    const { disable, enable, mask } = context.bundle.resolved.services;
    await each(tree, context, 'disable', disable, async (unit) => {
      await disableUnit(tree, unit);
      return undefined;
    });
    await each(tree, context, 'enable', enable, async (unit) => {
      const unmasked = unit.masked === 'administrator' ? await unmask(tree, unit) : unit;
      if (!unmasked) return `${unit.path} masks it, and there is no unit file behind`;
      if (unmasked.masked) return `${unmasked.path} masks it in the distribution`;
      const result = await enableUnit(tree, unmasked);
      if (!result.done) return result.reason;
      result.notes.forEach(context.warn);
      return undefined;
    });
    await each(tree, context, 'mask', mask, (unit) => maskUnit(tree, unit.name));
  },
};

async function unmask(tree: OverlayTree, unit: UnitFile): Promise<UnitFile | undefined> {
  await tree.remove(unit.path);
  return findUnit(tree, unit.name);
}

async function each(
  tree: OverlayTree,
  context: OperationContext,
  key: 'enable' | 'disable' | 'mask',
  names: readonly string[],
  act: (unit: UnitFile) => Promise<string | undefined>,
): Promise<void> {
  for (const [index, asked] of names.entries()) {
    const report = (code: ProblemCode, message: string) => context.problem({ code, message, path: ['services', key, index] });
    const name = unitName(asked);
    if (/[/\s]/.test(name)) {
      report('E014', `${JSON.stringify(asked)} is no unit name`);
      continue;
    }
    const unit = (await findUnit(tree, name)) ?? (await findByAlias(tree, name));
    if (!unit) {
      const script = `/etc/init.d/${name.replace(/\.service$/, '')}`;
      if (await tree.stat(script))
        report('P001', `${asked} has only the init script ${script}, which doppel cannot ${key}: give it a unit`);
      else report('E014', `the unit ${name} is not in the target`);
      continue;
    }
    const reason = await act(unit);
    if (reason !== undefined) report('P001', `cannot ${key} ${name}: ${reason}`);
  }
}
