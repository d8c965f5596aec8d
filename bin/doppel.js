#!/usr/bin/env node
// The launcher. CommonJS on purpose, see load.js.
'use strict';

process.env.UV_THREADPOOL_SIZE ??= '8';
// Whether this Node will do is asked below, and for doppel.
process.env.OCLIF_DISABLE_ENGINE_WARNING ??= '1';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`doppel: it needs Node.js 20.19 or newer, and this is ${process.versions.node}\n`);
  process.exit(1);
}

const { existsSync } = require('node:fs');
const { join } = require('node:path');
const { load } = require('./load.js');

const root = join(__dirname, '..');
const program = join(root, 'dist', 'doppel.cjs');
if (!existsSync(program)) {
  process.stderr.write('doppel: not built yet: run `npm run build`\n');
  process.exit(1);
}
try {
  const { main } = load(program, join(root, 'dist', 'doppel.cache')).exports;
  main(root, process.argv.slice(2)).catch(failed);
} catch (error) {
  failed(error);
}

function failed(error) {
  process.stderr.write(`doppel: could not start, this is a bug\n${error?.stack ?? error}\n`);
  process.exit(1);
}
