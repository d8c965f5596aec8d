// Preloaded into the program: sends it a signal right before the Nth call that changes something, or that a change waits for: of
// the target, whether a file or behind a server, of the journal, of other files. SIGKILL takes effect at once, with other lanes in
// the middle of their calls, as a kill from outside would. A clock that goes on by ten seconds with every write to a target makes
// the program note in its journal what it has copied after every piece, as if the disk were as slow as that.
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
let late = 0;

const now = performance.now.bind(performance);
performance.now = () => now() + late;

// `--progress json` tells the phase; the log notes in which one a call came.
const write = process.stderr.write.bind(process.stderr);
process.stderr.write = (text, ...rest) => {
  phase = /"type":"phase","phase":"(\w+)"/.exec(String(text))?.[1] ?? phase;
  return write(text, ...rest);
};

function passing(name) {
  count++;
  if (log !== undefined) appendFileSync(log, `${phase} ${name}\n`);
  if (slow.has(name)) late += 10_000;
  if (count === at) process.kill(process.pid, signal);
}

const slow = new Set(['file.write', 'fallocate', 'nbd_pwrite', 'nbd_zero']);

function watch(object, names, prefix = '') {
  for (const name of names) {
    const inner = object[name];
    object[name] = function (...args) {
      passing(prefix + name);
      return inner.apply(this, args);
    };
  }
}

watch(fs, ['rename', 'unlink', 'symlink', 'link', 'lchown', 'mkdir', 'mkdtemp', 'rmdir', 'rm']);
watch(childProcess, ['spawn']);

const changing = ['write', 'writeFile', 'appendFile', 'sync', 'datasync', 'chown', 'chmod', 'truncate', 'utimes'];
const open = fs.open;
let watched = false;
fs.open = async (...args) => {
  if (/^(w|a|wx)$/.test(args[1])) passing(`open-${args[1]}`);
  const handle = await open(...args);
  if (!watched) watch(Object.getPrototypeOf(handle), changing, 'file.');
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

const native = new Set(
  ['fallocate', 'posix_fadvise', 'ioctl', 'setxattr', 'lsetxattr', 'fsetxattr'].concat(
    ['pwrite', 'zero', 'trim', 'flush', 'shutdown'].map((name) => `nbd_${name}`),
  ),
);

function watchedFunction(inner) {
  const { name } = inner.info;
  const counts = native.has(name);
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
