import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const program = [process.execPath, '--import', 'tsx', join(dirname(fileURLToPath(import.meta.url)), 'sample-program.ts')];
const env = { ...process.env, DOPPEL_TEST_ACCOUNT: undefined, NO_COLOR: '1' };

function run(...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const [command = '', ...rest] = [...program, ...args];
  const { status, stdout, stderr } = spawnSync(command, rest, { encoding: 'utf8', env });
  return { code: status, stdout, stderr };
}

/** In a pseudo-terminal of its own, on which `typed` is typed; stdin of the program is empty. */
function runOnTerminal(typed: string, ...args: string[]): { code: number | null; screen: string } {
  const command = `stty cols 100; ${[...program, ...args].join(' ')} </dev/null`;
  const { status, stdout } = spawnSync('script', ['--quiet', '--return', '--echo', 'never', '--command', command, '/dev/null'], {
    encoding: 'utf8',
    input: typed,
    env: { ...env, TERM: 'xterm' },
  });
  return { code: status, screen: stdout.replaceAll('\r\n', '\n') };
}

/** Starts the program and returns when it has written READY. */
async function start(...args: string[]): Promise<{ child: ChildProcess; said: () => string; ended: Promise<unknown> }> {
  const [command = '', ...rest] = [...program, ...args];
  const child = spawn(command, rest, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr?.setEncoding('utf8');
  const ready = new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (text: string) => {
      said += text;
      if (said.includes('READY')) resolve();
    });
    child.once('exit', () => reject(new Error(`ended early: ${said}`)));
  });
  const ended = once(child, 'close');
  await ready;
  return { child, said: () => said, ended };
}

test('the result goes to stdout, progress in plain lines to stderr', () => {
  const { code, stdout, stderr } = run('work', 'well');
  assert.is(code, 0, stderr);
  assert.is(stdout, 'Four bytes.\n');
  assert.match(stderr, /^Fencing \.\.\.\nFencing: done, .*\nCopying \.\.\.\nWarning: take care\nCopying: done, 4 B in .*\n$/);
});

test('--json prints one document that says what became of the target', () => {
  const { stdout, stderr } = run('work', 'well', '--json', '--progress', 'none');
  assert.equal(JSON.parse(stdout), { bytes: 4, big: 5, target: 'committed' });
  assert.is(stderr, 'Warning: take care\n');
});

test('--progress json writes events as lines on stderr', () => {
  const { stderr } = run('work', 'well', '--progress', 'json');
  const types = stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).type);
  assert.equal(types, ['phase', 'target', 'phase', 'progress', 'warning', 'progress', 'target', 'end']);
});

test('an error of the engine ends with its exit code and tells the state of the target', () => {
  const plain = run('work', 'corrupt');
  assert.is(plain.code, 6);
  assert.is(plain.stdout, '');
  assert.match(
    plain.stderr,
    /Copying: failed\ndoppel: The source is broken\.\n {2}Mend it\.\n {2}BROKEN \(exit 6\), target fenced\n$/,
  );

  const json = run('work', 'corrupt', '--json');
  assert.is(json.code, 6);
  assert.equal(JSON.parse(json.stdout), {
    error: { code: 'BROKEN', message: 'The source is broken.', todo: 'Mend it.', exitCode: 6, data: { offset: 512 } },
    target: 'fenced',
  });
});

test('a bug ends with 1 and its stack', () => {
  const { code, stderr } = run('work', 'bug');
  assert.is(code, 1);
  assert.match(stderr, /this is a bug: TypeError: surprise\n\s+at .*sample-commands\.ts/);
});

test('a command line that cannot be understood ends with 2', () => {
  for (const args of [
    ['nonsense'],
    ['work'],
    ['work', 'badly'],
    ['work', 'well', '--nonsense'],
    ['work', 'well', 'more'],
    ['work', 'well', '--progress', 'x'],
  ]) {
    const { code, stdout, stderr } = run(...args);
    assert.is(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.is(stdout, '');
    assert.match(stderr, /^doppel: .*\n(.*\n)*? {2}(Add --help|.*"doppel help")/);
  }
  assert.is(JSON.parse(run('work', '--json').stdout).error.code, 'USAGE');
});

test('an error that nobody waits for ends the program at once, as a bug', () => {
  const { code, stderr } = run('work', 'stray');
  assert.is(code, 1);
  assert.match(stderr, /this is a bug: RangeError: stray\n[\s\S]*target fenced\n$/);
});

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${name} lets the command clean up and then ends the process as the signal does`, async () => {
    const { child, said, ended } = await start('work', 'wait');
    child.kill(name);
    await ended;
    assert.is(child.signalCode, name);
    assert.match(said(), new RegExp(`ASKED TO STOP\nCLEANED UP\n[\\s\\S]*Stopped by ${name}[\\s\\S]*target fenced`));
  });
}

test('a second signal does not wait for the clean-up', async () => {
  const { child, said, ended } = await start('work', 'deaf');
  child.kill('SIGINT');
  while (!said().includes('ASKED TO STOP')) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGINT');
  await ended;
  assert.is(child.signalCode, 'SIGINT');
  assert.not.match(said(), /CLEANED UP/);
});

test('a reader that goes away ends the program quietly', () => {
  const { status, stdout, stderr } = spawnSync('bash', ['-c', `set -o pipefail; ${program.join(' ')} many | head -n 1`], {
    encoding: 'utf8',
    env,
  });
  assert.is(stdout, 'line\n');
  assert.is(stderr, '');
  assert.is(status, 0);
});

test('a reader of the messages that goes away changes neither the work nor how it ends', () => {
  for (const [args, code] of [
    [['well'], 0],
    [['corrupt'], 6],
    [['corrupt', '--json'], 6],
  ] as const) {
    const words = [...program, 'work', ...args].map((word) => `'${word}'`).join(' ');
    const { status, stdout } = spawnSync('bash', ['-c', `${words} 2> >(exec 0<&-)`], { encoding: 'utf8', env });
    assert.is(status, code);
    assert.not.match(stdout, 'EPIPE');
  }
});

test('a name that is no UTF-8 is refused, as it would mean another file', () => {
  const words = [...program, 'work', 'well'].map((word) => `'${word}'`).join(' ');
  const { status, stderr } = spawnSync('bash', ['-c', `${words} $'\\xff.img'`], { encoding: 'utf8', env });
  assert.is(status, 2);
  assert.match(stderr, 'NAME_NOT_UTF8');
});

test('without a terminal a question is a refusal', () => {
  const [command = '', ...rest] = program;
  // A session of its own has no controlling terminal; an answer on stdin does not count.
  const { status, stderr } = spawnSync('setsid', ['--wait', command, ...rest, 'ask'], { encoding: 'utf8', env, input: 'yes\n' });
  assert.is(status, 4);
  assert.match(stderr, /no terminal to ask on[\s\S]*--yes[\s\S]*NO_TERMINAL \(exit 4\), target untouched/);
  assert.is(run('ask', '--yes').stdout, 'Confirmed.\n');
});

test('on a terminal the facts are shown and only "yes" is an answer', () => {
  const yes = runOnTerminal('yes\n', 'ask');
  assert.match(yes.screen, /This overwrites disk\.img\.\n {2}Host {2}web-07\nType "yes" to go on: [\s\S]*Confirmed\./);
  assert.is(yes.code, 0);
  for (const answer of ['y\n', 'YES\n', '\n', 'no\n', '\u0004']) {
    const other = runOnTerminal(answer, 'ask');
    assert.is(other.code, 4, other.screen);
    assert.match(other.screen, /Not confirmed; nothing was written/);
  }
});

test('Ctrl-C at the question ends at once by the signal, with one line', async () => {
  const command = `stty cols 100; trap : INT; ${[...program, 'ask'].join(' ')} </dev/null; echo "ended $?"`;
  for (const stop of ['\u0003', 'SIGTERM'] as const) {
    const child = spawn('script', ['--quiet', '--return', '--command', `bash -c '${command}'`, '/dev/null'], {
      env: { ...env, TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let screen = '';
    let stopped = false;
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text: string) => {
      screen += text;
      if (stopped || !screen.includes('to go on: ')) return;
      stopped = true;
      if (stop === '\u0003') child.stdin.write(stop);
      else process.kill(Number(descendant(child.pid as number)), stop);
    });
    await once(child, 'close');
    assert.match(screen, /to go on: (\^C)?\r\nStopped; nothing was written\.\r\n/);
    assert.match(screen, stop === 'SIGTERM' ? /ended 143/ : /ended 130/);
  }
});

/** The last process of a chain of only children. */
function descendant(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
  return children.length === 0 ? pid : descendant(Number(children[0]));
}

test('on a terminal progress is drawn as tasks, and the cursor comes back', () => {
  const { screen, code } = runOnTerminal('', 'work', 'well');
  assert.is(code, 0, screen);
  assert.match(screen, /Fencing: .* s\n/);
  assert.match(screen, /Copying: 4 B in /);
  assert.match(screen, /Warning: take care/);
  assert.match(screen, /Four bytes\./);
  assert.ok(screen.lastIndexOf('\u001b[?25h') > screen.lastIndexOf('\u001b[?25l'), 'the cursor stays hidden');

  const failed = runOnTerminal('', 'work', 'corrupt');
  assert.is(failed.code, 6);
  assert.match(failed.screen, /The source is broken\./);
  assert.ok(failed.screen.lastIndexOf('\u001b[?25h') > failed.screen.lastIndexOf('\u001b[?25l'));
});

test.run();
