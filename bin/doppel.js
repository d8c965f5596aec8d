#!/usr/bin/env node
// The launcher. CommonJS on purpose: loading an ES module starts libuv's thread pool, and its size is fixed from then on.
'use strict';

process.env.UV_THREADPOOL_SIZE ??= '8';
require('node:module').enableCompileCache?.();

const { existsSync } = require('node:fs');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');

const main = join(__dirname, '..', 'dist', 'main.js');
if (!existsSync(main)) {
  process.stderr.write('doppel: not built yet: run `npm run build`\n');
  process.exit(1);
}
import(pathToFileURL(main).href)
  .then(({ main }) => main(join(__dirname, '..'), process.argv.slice(2)))
  .catch((error) => {
    process.stderr.write(`doppel: could not start, this is a bug\n${error?.stack ?? error}\n`);
    process.exit(1);
  });
