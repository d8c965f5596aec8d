import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const read = (name: string) => JSON.parse(readFileSync(join(root, name), 'utf8'));

interface Locked {
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

test('dependencies are pinned', () => {
  const { dependencies, devDependencies } = read('package.json');
  for (const [name, version] of Object.entries<string>({ ...dependencies, ...devDependencies })) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  }
});

test('the lock has no download addresses, and knows the packages for other platforms, without which npm ci refuses it', () => {
  const packages = Object.entries<Locked>(read('package-lock.json').packages);
  const paths = new Set(packages.map(([path]) => path));
  for (const [path, entry] of packages) {
    assert.is(entry.resolved, undefined, path);
    for (const name of Object.keys(entry.optionalDependencies ?? {})) {
      assert.ok(
        paths.has(`node_modules/${name}`) || paths.has(`${path}/node_modules/${name}`),
        `${name} is missing: node scripts/complete-lock.mjs`,
      );
    }
  }
});

test('the package holds the launcher, the built program, its manifest and the shipped profiles, and no sources', () => {
  const { stdout } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' });
  const [packed] = Object.values<{ files: { path: string }[] }>(JSON.parse(stdout));
  const files = packed?.files.map(({ path }) => path) ?? [];
  for (const path of [
    'bin/doppel.js',
    'bin/package.json',
    'dist/doppel.cjs',
    'dist/doppel.cache',
    'dist/commands.cjs',
    'oclif.manifest.json',
    'profiles/base.yaml',
    'docs/commands.md',
  ]) {
    assert.ok(files.includes(path), `${path} is not in the package`);
  }
  assert.equal(
    files.filter((path) => /^(src|test|scripts|bench)\//.test(path)),
    [],
  );
});

test.run();
