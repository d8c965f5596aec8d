// Starts the built program as `doppel --help` and keeps the code that V8 compiled for it. A Node that keeps such a cache itself
// needs none.
'use strict';

const { writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { load } = require('../bin/load.js');

const root = process.argv[2];
const { exports: program, script } = load(join(root, 'dist', 'doppel.cjs'), join(root, 'dist', 'doppel.cache'));
program
  .main(root, ['clone', '--help'])
  .then(() => program.main(root, ['--help']))
  .then(() => {
    if (script !== undefined) writeFileSync(join(root, 'dist', 'doppel.cache'), script.createCachedData());
  });
