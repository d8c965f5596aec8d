// Bundles the command line into dist/: two entry points (the program and the table of commands) that share chunks,
// so that oclif is loaded once and the engine only when a command imports it.
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** Native add-ons, and what loads files beside itself, stay in node_modules. */
const external = ['koffi', '@node-rs/xxhash', 'zstd-codec', 'typescript'];

rmSync(join(root, 'dist'), { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: { main: 'src/main.ts', commands: 'src/command-table.ts' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external,
  sourcemap: false,
  minify: true,
  keepNames: true,
  legalComments: 'linked',
  define: { 'process.env.NODE_ENV': '"production"' },
  // oclif and other CommonJS packages still call require.
  banner: {
    js: "import{createRequire as __doppelRequire}from'node:module';const require=__doppelRequire(import.meta.url);const __dirname=import.meta.dirname,__filename=import.meta.filename;",
  },
  logLevel: 'warning',
});

// The manifest saves loading every command for --help and for finding one.
const manifest = join(root, 'oclif.manifest.json');
rmSync(manifest, { force: true });
const { Plugin } = await import('@oclif/core');
const plugin = new Plugin({ root, type: 'core', ignoreManifest: true, errorOnManifestCreate: true, respectNoCacheDefault: true });
await plugin.load();
writeFileSync(manifest, `${JSON.stringify(plugin.manifest, undefined, 2)}\n`);
