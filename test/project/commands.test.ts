import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commandReference, docsFile } from '../../scripts/docs.ts';
import { COMMANDS } from '../../src/command-table.ts';
import { COMMANDS as own } from '../../src/commands/index.ts';
import { tempDir } from '../fixtures/temp.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const launcher = join(root, 'bin', 'doppel.js');

function doppel(args: readonly string[], env: NodeJS.ProcessEnv = {}): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [launcher, ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', ...env },
  });
  return { code: status, stdout, stderr };
}

test('the command reference is current', async () => {
  assert.is(readFileSync(docsFile, 'utf8'), await commandReference(), 'run `npm run docs` and commit docs/commands.md');
});

test('the command reference shows arguments, flags, choices and defaults', async () => {
  const text = await commandReference('./test/ui/sample-commands.ts');
  assert.match(text, /## doppel work\n/);
  assert.match(text, /doppel work END \[FLAGS\]/);
  assert.match(text, /\| `END` \| One of `well`, `corrupt`/);
  assert.match(text, /\| `--progress PROGRESS` \| .*One of `auto`, `plain`, `json`, `none`\. Default: `auto`\. \|/);
  assert.match(text, /\| `-y`, `--yes` \|/);
});

for (const [id, command] of Object.entries(own)) {
  test(`${id}: no argument reads stdin unasked, no flag has an environment variable, all are described`, () => {
    for (const [name, arg] of Object.entries(command.args)) {
      assert.is(arg.ignoreStdin, true, `argument ${name} needs ignoreStdin: true`);
      assert.ok(arg.description, `argument ${name} has no description`);
    }
    for (const [name, flag] of Object.entries(command.flags ?? {})) {
      assert.is(flag.env, undefined, `flag ${name} must not come from the environment`);
      assert.ok(flag.summary ?? flag.description, `flag ${name} has no summary`);
    }
    assert.ok(command.summary ?? command.description, 'the command has no summary');
  });
}

test('the built program lists every command and shows help for each', () => {
  const { code, stdout } = doppel(['--help']);
  assert.is(code, 0);
  for (const [id, command] of Object.entries(COMMANDS)) {
    if (command.hidden) continue;
    assert.match(stdout, new RegExp(`^  ${id.split(':')[0]} `, 'm'));
    // `doppel help --help` is the help for doppel.
    if (id === 'help') continue;
    const help = doppel([...id.split(':'), '--help']);
    assert.is(help.code, 0, help.stderr);
    assert.match(help.stdout, new RegExp(`USAGE\\n {2}\\$ doppel ${id.replaceAll(':', ' ')}`));
  }
  assert.match(doppel(['--version']).stdout, /^doppel\/\d+\.\d+\.\d+ /);
});

test('the built program ends with 2 when it does not understand', () => {
  const { code, stderr } = doppel(['nonsense', 'a.img']);
  assert.is(code, 2);
  assert.match(stderr, /^doppel: there is no command `doppel nonsense`\./);
});

test('the launcher sets the size of the thread pool before anything uses it', () => {
  const home = tempDir('pool');
  // After the program has loaded as ever, eight hashes keep as many threads busy as there are.
  const probe = `process.on('exit', () => {}); const { pbkdf2 } = require('node:crypto'); process.argv = [process.argv[0], ${JSON.stringify(launcher)}, '--version'];
    require(${JSON.stringify(launcher)}); setTimeout(() => { const before = require('node:fs').readdirSync('/proc/self/task').length;
    for (let i = 0; i < 16; i++) pbkdf2('a', 'b', 60000, 32, 'sha256', () => {}); console.log('threads', require('node:fs').readdirSync('/proc/self/task').length); }, 1000);`;
  const threads = (size?: string): number => {
    const env = { ...process.env, HOME: home, ...(size === undefined ? {} : { UV_THREADPOOL_SIZE: size }) };
    if (size === undefined) delete env.UV_THREADPOOL_SIZE;
    return Number(/threads (\d+)/.exec(spawnSync(process.execPath, ['-e', probe], { encoding: 'utf8', env }).stdout)?.[1]);
  };
  const [one, standard] = [threads('1'), threads()];
  assert.is(standard - one, 7, `${one} threads with a pool of 1, ${standard} by default`);
});

test('completion: what the instructions say works in bash', () => {
  const home = tempDir('completion');
  const env = {
    HOME: home,
    XDG_CACHE_HOME: join(home, 'cache'),
    XDG_DATA_HOME: join(home, 'data'),
    XDG_CONFIG_HOME: join(home, 'config'),
    SHELL: '/bin/bash',
  };
  const instructions = doppel(['autocomplete', 'bash'], env);
  assert.is(instructions.code, 0, instructions.stderr);
  assert.match(instructions.stdout, /printf "\$\(doppel autocomplete script bash\)" >> ~\/\.bashrc/);
  const script = `
    doppel() { ${process.execPath} ${launcher} "$@"; }
    printf "$(doppel autocomplete script bash)" >> ~/.bashrc; source ~/.bashrc
    complete -p doppel
    COMP_WORDS=(doppel auto); COMP_CWORD=1; COMP_LINE="doppel auto"; COMP_POINT=11; _doppel_autocomplete; echo "words: \${COMPREPLY[*]}"
    COMP_WORDS=(doppel autocomplete --); COMP_CWORD=2; COMP_LINE="doppel autocomplete --"; COMP_POINT=22; _doppel_autocomplete; echo "flags: \${COMPREPLY[*]}"`;
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8', env: { ...process.env, ...env } });
  assert.match(stdout, /complete .*-F _doppel_autocomplete doppel/, stderr);
  assert.match(stdout, /words: autocomplete/);
  assert.match(stdout, /flags: --refresh-cache/);
});

test.run();
