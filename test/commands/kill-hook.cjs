// Preloaded into the program (NODE_OPTIONS): sends it a signal right before the Nth call that changes something, or that a
// change waits for. SIGKILL takes effect at once, with other lanes in the middle of their calls, as a kill from outside would.
'use strict';
const { appendFileSync } = require('node:fs');
const fs = require('node:fs/promises');
const childProcess = require('node:child_process');
const module_ = require('node:module');

const at = Number(process.env.DOPPEL_KILL_AT ?? 0);
const signal = process.env.DOPPEL_KILL_SIGNAL ?? 'SIGKILL';
const log = process.env.DOPPEL_KILL_LOG;
let count = 0;
let phase = 'start';

// `--progress json` tells the phase; the log notes in which one a call came.
const write = process.stderr.write.bind(process.stderr);
process.stderr.write = (text, ...rest) => {
  phase = /"type":"phase","phase":"(\w+)"/.exec(String(text))?.[1] ?? phase;
  return write(text, ...rest);
};

function passing(name) {
  count++;
  if (log !== undefined) appendFileSync(log, `${phase} ${name}\n`);
  if (count === at) process.kill(process.pid, signal);
}

function watch(object, names, prefix = '') {
  for (const name of names) {
    const inner = object[name];
    object[name] = function (...args) {
      passing(prefix + name);
      return inner.apply(this, args);
    };
  }
}

watch(fs, ['rename', 'unlink', 'symlink', 'link', 'lchown', 'mkdir', 'rmdir']);
watch(childProcess, ['spawn']);

const open = fs.open;
let watched = false;
fs.open = async (...args) => {
  const handle = await open(...args);
  if (!watched)
    watch(Object.getPrototypeOf(handle), ['write', 'writeFile', 'sync', 'chown', 'chmod', 'truncate', 'utimes'], 'file.');
  watched = true;
  return handle;
};
module_.syncBuiltinESMExports();

const load = module_._load;
module_._load = (request, ...rest) => {
  const loaded = load(request, ...rest);
  return request === 'koffi' ? watchedKoffi(loaded) : loaded;
};

function watchedKoffi(koffi) {
  return {
    ...koffi,
    errno: (...args) => koffi.errno(...args),
    load: (...args) => {
      const library = koffi.load(...args);
      return { ...library, func: (...prototype) => watchedFunction(library.func(...prototype)) };
    },
  };
}

function watchedFunction(inner) {
  const { name } = inner.info;
  const counts = ['fallocate', 'posix_fadvise', 'ioctl', 'setxattr', 'lsetxattr', 'fsetxattr'].includes(name);
  const outer = (...args) => {
    if (counts) passing(name);
    return inner(...args);
  };
  outer.async = (...args) => {
    if (counts) passing(name);
    return inner.async(...args);
  };
  return outer;
}
