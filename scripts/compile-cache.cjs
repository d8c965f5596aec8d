// Runs the built program as people do, for help and for a small clone, and keeps the code that V8 compiled for it. A Node that keeps
// such a cache itself needs none.
'use strict';

const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { load } = require('../bin/load.js');

const root = process.argv[2];
const cache = join(root, 'dist', 'doppel.cache');
const { exports: program, script } = load(join(root, 'dist', 'doppel.cjs'), cache);

async function run() {
  const folder = mkdtempSync(join(tmpdir(), 'doppel-build-'));
  try {
    const [source, target] = ['source', 'target'].map((name) => join(folder, `${name}.img`));
    writeFileSync(target, Buffer.alloc(8 << 20));
    await program.main(root, ['profile', 'init', target, '--yes']);
    writeFileSync(target, Buffer.alloc(8 << 20));
    const state = ['--state-dir', join(folder, 'state')];
    writeFileSync(source, swap(8 << 20));
    await program.main(root, ['clone', source, target, '--as', 'none', '--yes', '--json', '--progress', 'none', ...state]);
    await program.main(root, ['clone', '--help']);
    await program.main(root, ['--help']);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A disk that is all swap space, as of mkswap(8): what a file system is for everybody. */
function swap(size) {
  const disk = Buffer.alloc(size);
  disk.writeUInt32LE(1, 1024);
  disk.writeUInt32LE(size / 4096 - 1, 1028);
  disk.write('SWAPSPACE2', 4086, 'latin1');
  return disk;
}

run().then(() => {
  if (process.exitCode) throw new Error(`doppel ended with ${process.exitCode}`);
  if (script !== undefined) writeFileSync(cache, script.createCachedData());
});
