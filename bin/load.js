// Loads the built program, with the code that V8 compiled when it was built, where this Node can use it. CommonJS on purpose:
// loading an ES module starts libuv's thread pool, and its size is fixed from then on.
'use strict';

const { existsSync, readFileSync } = require('node:fs');
const Module = require('node:module');
const { dirname } = require('node:path');
const { Script } = require('node:vm');

/** Exports of the CommonJS file, and its script; `cache` need not exist, nor fit. */
function load(file, cache) {
  const compileCache = Module.enableCompileCache;
  // Newer Nodes keep such a cache by themselves, also of what is loaded later.
  if (compileCache !== undefined && compileCache().status !== Module.constants.compileCacheStatus.DISABLED) {
    return { exports: require(file) };
  }
  // ASCII, as the build makes it.
  const script = new Script(Module.wrap(readFileSync(file, 'latin1')), {
    filename: file,
    ...(existsSync(cache) ? { cachedData: readFileSync(cache) } : {}),
  });
  const module = new Module(file);
  module.filename = file;
  Module._cache[file] = module;
  script.runInThisContext().call(module.exports, module.exports, Module.createRequire(file), module, file, dirname(file));
  module.loaded = true;
  return { exports: module.exports, script };
}

module.exports = { load };
