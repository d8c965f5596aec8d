// Bundles the command line into dist/: one file with everything, of which a command loads its part, and beside it the code that
// V8 makes of what every start needs.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** Native add-ons, and what loads files beside itself, stay in node_modules. */
const external = ['koffi', '@napi-rs/blake-hash', '@node-rs/xxhash', 'zstd-codec', 'typescript'];

/** Sorting by locale makes ICU load its tables, which takes longer than everything else that oclif does at a start. */
function withoutCollation({ path }) {
  const [byLocale, byCode] = ['a.id.localeCompare(b.id)', '(a.id < b.id ? -1 : 1)'];
  const contents = readFileSync(path, 'utf8');
  if (!contents.includes(byLocale)) throw new Error(`${path} does not sort by ${byLocale} any more: see scripts/build.mjs`);
  return { contents: contents.replace(byLocale, byCode) };
}

rmSync(join(root, 'dist'), { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ['src/bundle.ts'],
  outfile: 'dist/doppel.cjs',
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  external,
  sourcemap: false,
  // Names stay: errors tell theirs.
  minifyWhitespace: true,
  minifySyntax: true,
  // Node does not import from a script that came out of a cache of compiled code.
  supported: { 'dynamic-import': false },
  legalComments: 'linked',
  define: { 'process.env.NODE_ENV': '"production"', 'import.meta.url': '__doppelUrl' },
  banner: { js: "const __doppelUrl=require('node:url').pathToFileURL(__filename).href;" },
  logLevel: 'warning',
  plugins: [
    {
      name: 'command ids are ASCII',
      setup: (building) => building.onLoad({ filter: /@oclif\/core\/lib\/config\/plugin\.js$/ }, withoutCollation),
    },
  ],
});
// Plain ASCII loads without being decoded; esbuild leaves but regular expressions as they were.
const bundle = join(root, 'dist/doppel.cjs');
const code = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
writeFileSync(bundle, readFileSync(bundle, 'utf8').replace(/[^\0-\x7f]/g, code));
writeFileSync(join(root, 'dist/commands.cjs'), "exports.COMMANDS = require('./doppel.cjs').commands();\n");
writeFileSync(join(root, 'dist/serve.cjs'), "require('./doppel.cjs').serve(process.argv.slice(2));\n");

// The manifest saves loading every command for --help and for finding one.
const manifest = join(root, 'oclif.manifest.json');
rmSync(manifest, { force: true });
const { Plugin } = await import('@oclif/core');
const plugin = new Plugin({ root, type: 'core', ignoreManifest: true, errorOnManifestCreate: true, respectNoCacheDefault: true });
await plugin.load();
writeFileSync(manifest, `${JSON.stringify(plugin.manifest, undefined, 2)}\n`);

// In a process of its own: what ran there is what gets into the cache.
const { status } = spawnSync(process.execPath, [join(root, 'scripts/compile-cache.cjs'), root], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
if (status !== 0) throw new Error(`scripts/compile-cache.cjs ended with ${status}`);
