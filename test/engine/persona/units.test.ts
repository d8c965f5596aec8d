/** Enabling, disabling and masking by links gives what `systemctl --root=` gives, on this machine's own unit files and on odd ones. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OverlayTree } from '../../../src/engine/persona/overlay.ts';
import { DirectoryTree } from '../../../src/engine/persona/trees/directory.ts';
import { findByAlias, findUnit, installSection, unitName } from '../../../src/engine/persona/units/files.ts';
import { disableUnit, enableUnit, maskUnit } from '../../../src/engine/persona/units/links.ts';
import { inDirectory, linkAt, linksBelow, writeAt } from './trees-on-disk.ts';

const config = 'etc/systemd/system';

function systemctl(root: string, ...args: string[]): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync('systemctl', [`--root=${root}`, '--quiet', ...args], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  return { status, stderr };
}

/** The links that the tree would have after `act`, without writing them. */
async function planned(root: string, act: (tree: OverlayTree) => Promise<void>): Promise<string[]> {
  const tree = new OverlayTree(new DirectoryTree(root));
  await act(tree);
  const links = new Map(linksBelow(join(root, config)).map((line) => line.split(' -> ') as [string, string]));
  for (const { path, after } of await tree.changes()) {
    const name = path.slice(config.length + 2);
    if (after.type === 'symlink') links.set(name, after.target);
    else if (after.type === 'absent') links.delete(name);
  }
  return [...links].map(([name, target]) => `${name} -> ${target}`).sort();
}

async function enable(tree: OverlayTree, name: string): Promise<void> {
  const unit = await findUnit(tree, name);
  assert.ok(unit, name);
  const result = await enableUnit(tree, unit);
  assert.ok(result.done, JSON.stringify(result));
}

async function disable(tree: OverlayTree, name: string): Promise<void> {
  const unit = await findUnit(tree, name);
  assert.ok(unit, name);
  await disableUnit(tree, unit);
}

async function compare(root: string, name: string): Promise<void> {
  const expected = await planned(root, (tree) => enable(tree, name));
  const enabled = systemctl(root, 'enable', name);
  assert.is(enabled.status, 0, `${name}: ${enabled.stderr}`);
  assert.equal(expected, linksBelow(join(root, config)), `enable ${name}`);
  assert.equal(await planned(root, (tree) => enable(tree, name)), expected, `enabling ${name} again changes nothing`);
  const without = await planned(root, (tree) => disable(tree, name));
  systemctl(root, 'disable', name);
  assert.equal(without, linksBelow(join(root, config)), `disable ${name}`);
}

const systemUnits =
  ['/usr/lib/systemd/system', '/lib/systemd/system'].find((path) => readdirSync(path).includes('systemd-journald.service')) ?? '';

function copyUnits(root: string): void {
  mkdirSync(join(root, 'usr/lib/systemd'), { recursive: true });
  linkAt(root, 'lib', 'usr/lib');
  cpSync(systemUnits, join(root, 'usr/lib/systemd/system'), { recursive: true, verbatimSymlinks: true });
  mkdirSync(join(root, config), { recursive: true });
}

test("every unit of this machine's systemd that can be enabled gets the links that systemctl makes", () =>
  inDirectory(async (root) => {
    copyUnits(root);
    const tree = new DirectoryTree(root);
    const names: string[] = [];
    for (const name of readdirSync(join(root, 'usr/lib/systemd/system'))) {
      if (!/\.(service|socket|target|timer|path)$/.test(name)) continue;
      const unit = await findUnit(tree, name);
      if (!unit || unit.masked || unit.name !== name) continue;
      const install = await installSection(tree, unit);
      const targets = [...install.wantedBy, ...install.requiredBy, ...install.alias, ...install.also];
      if (targets.length === 0 || (name.includes('@.') && install.defaultInstance === undefined)) continue;
      names.push(name);
    }
    assert.ok(names.length > 15, `only ${names.length} units can be enabled here`);
    assert.ok(names.includes('getty@.service') && names.includes('systemd-networkd.service'), names.join(' '));
    for (const name of names) await compare(root, name);
  }));

const oddUnits: Record<string, string> = {
  'alias.service': 'WantedBy=multi-user.target\nAlias=other.service second.service\nAlias=third.service',
  'required.service': 'RequiredBy=multi-user.target\nWantedBy=timers.target network-online.target',
  'also.service': 'Also=also.socket also-missing.service\nWantedBy=multi-user.target',
  'also.socket': 'WantedBy=sockets.target\nAlso=also.service',
  'inst@.service': 'WantedBy=multi-user.target\nDefaultInstance=one',
  'plain@.service': 'WantedBy=dev-%i.device\nAlias=nick@.service',
  'bare@.service': 'WantedBy=multi-user.target',
  'names.service': 'WantedBy=%p.target\nAlias=%N-copy.service',
  'continued.service': 'WantedBy=a.target \\\n  b.target\n; comment\n# comment\nRequiredBy="c.target"',
  'reset.service': 'WantedBy=gone.target\nWantedBy=\nWantedBy=kept.target',
  'multi-part-name.service': 'WantedBy=multi-user.target\nAlias=%j.service',
};

function oddRoot(root: string): void {
  copyUnits(root);
  for (const [name, install] of Object.entries(oddUnits)) {
    writeAt(
      root,
      `usr/lib/systemd/system/${name}`,
      `[Unit]\nDescription=x\n\n[Service]\nExecStart=/bin/true\n\n[Install]\n${install}\n`,
    );
  }
  writeAt(
    root,
    'usr/local/lib/systemd/system/local.service',
    '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n',
  );
  writeAt(
    root,
    `${config}/admin.service`,
    '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlias=boss.service\n',
  );
  writeAt(root, `${config}/alias.service.d/more.conf`, '[Install]\nWantedBy=rescue.target\n');
}

test('aliases, Also=, templates, specifiers, drop-ins and resets give the links that systemctl makes', () =>
  inDirectory(async (root) => {
    oddRoot(root);
    for (const name of [...Object.keys(oddUnits), 'plain@sda.service', 'inst@two.service', 'local.service', 'admin.service']) {
      if (!['plain@.service', 'bare@.service'].includes(name)) await compare(root, name);
    }
  }));

test('disabling one of several enabled units leaves the others, and a template takes all its instances', () =>
  inDirectory(async (root) => {
    oddRoot(root);
    const names = [
      'alias.service',
      'admin.service',
      'inst@two.service',
      'inst@three.service',
      'getty@tty3.service',
      'also.service',
    ];
    execFileSync('systemctl', [`--root=${root}`, '--quiet', 'enable', ...names], { stdio: 'ignore' });
    for (const name of [
      'also.service',
      'admin.service',
      'inst@two.service',
      'inst@.service',
      'alias.service',
      'getty@tty3.service',
    ]) {
      const expected = await planned(root, (tree) => disable(tree, name));
      systemctl(root, 'disable', name);
      assert.equal(expected, linksBelow(join(root, config)), name);
    }
    assert.equal(linksBelow(join(root, config)), []);
  }));

test('masking links to /dev/null, once, and a unit file in the way is reported as systemctl reports it', () =>
  inDirectory(async (root) => {
    oddRoot(root);
    const expected = await planned(root, async (tree) => void (await maskUnit(tree, 'local.service')));
    systemctl(root, 'mask', 'local.service');
    assert.equal(expected, linksBelow(join(root, config)));
    assert.equal(expected, ['local.service -> /dev/null']);
    assert.equal(await planned(root, async (tree) => void (await maskUnit(tree, 'local.service'))), expected);
    assert.is((await findUnit(new DirectoryTree(root), 'local.service'))?.masked, 'administrator');
    assert.is.not(systemctl(root, 'mask', 'admin.service').status, 0);
    assert.match((await maskUnit(new OverlayTree(new DirectoryTree(root)), 'admin.service')) ?? '', /in the way/);
    const disabled = await planned(root, (tree) => disable(tree, 'local.service'));
    systemctl(root, 'disable', 'local.service');
    assert.equal(disabled, linksBelow(join(root, config)), 'disabling a masked unit leaves the mask');
  }));

test('a template without an instance is refused, as systemctl refuses it', () =>
  inDirectory(async (root) => {
    oddRoot(root);
    assert.is.not(systemctl(root, 'enable', 'bare@.service').status, 0);
    const tree = new OverlayTree(new DirectoryTree(root));
    const unit = await findUnit(tree, 'bare@.service');
    assert.ok(unit);
    const result = await enableUnit(tree, unit);
    assert.not(result.done);
    assert.equal(await tree.changes(), []);
  }));

test('a name that is only an Alias= finds its unit while that is disabled, and a missing one nothing', () =>
  inDirectory(async (root) => {
    oddRoot(root);
    const tree = new DirectoryTree(root);
    assert.is(await findUnit(tree, 'second.service'), undefined);
    assert.is((await findByAlias(tree, 'second.service'))?.name, 'alias.service');
    assert.is(await findByAlias(tree, 'nothing.service'), undefined);
    systemctl(root, 'enable', 'alias.service');
    assert.is((await findUnit(tree, 'second.service'))?.name, 'alias.service');
    assert.equal(['nginx', 'a.socket', 'getty@tty1', 'x.y'].map(unitName), [
      'nginx.service',
      'a.socket',
      'getty@tty1.service',
      'x.y.service',
    ]);
  }));

test.run();
