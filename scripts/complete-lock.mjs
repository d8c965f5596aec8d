// Adds to package-lock.json the packages for other platforms that the registry at hand does not have. npm leaves them out, and
// then `npm ci` refuses the lock; they are never downloaded here, so name, version and platform are all it takes.
// To be run after a change of dependencies: `node scripts/complete-lock.mjs`.
import { readFileSync, writeFileSync } from 'node:fs';

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));

/** os, cpu and libc from a name like `@scope/name-linux-x64-musl`, as napi-rs, esbuild and biome form them. */
function platform(name) {
  const match =
    /(android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32)-(arm64|arm|ia32|loong64|mips64el|ppc64le|ppc64|riscv64|s390x|universal|x64)(?:-(\w+))?$/.exec(
      name,
    );
  if (match === null) return undefined;
  const [, os, cpu, abi] = match;
  const libc = os !== 'linux' || abi === undefined ? {} : { libc: [abi.startsWith('musl') ? 'musl' : 'glibc'] };
  return { ...(cpu === 'universal' ? {} : { cpu: [cpu.replace('ppc64le', 'ppc64')] }), ...libc, os: [os] };
}

const added = [];
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const nested = `${path}/node_modules/${name}`;
    const hoisted = `node_modules/${name}`;
    if (lock.packages[nested] !== undefined || lock.packages[hoisted] !== undefined) continue;
    const where = platform(name);
    if (where === undefined) throw new Error(`${name} is missing from the lock, and its name says no platform`);
    if (!/^\d/.test(version)) throw new Error(`${name} is wanted as ${version}, not at one version`);
    lock.packages[hoisted] = { version, ...where, ...(entry.dev ? { dev: true } : {}), license: entry.license, optional: true };
    added.push(name);
  }
}
const [rootEntry, ...others] = Object.entries(lock.packages);
lock.packages = Object.fromEntries([rootEntry, ...others.sort(([a], [b]) => (a < b ? -1 : 1))]);
writeFileSync(file, `${JSON.stringify(lock, undefined, 2)}\n`);
process.stdout.write(added.length === 0 ? 'nothing to add\n' : `added ${added.join(', ')}\n`);
