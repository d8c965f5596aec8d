import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const head = "import { test, suite } from 'uvu';\nimport * as assert from 'uvu/assert';\n";

/** Runs the runner on these files; gives its exit code, its last line, and all it said. */
function run(
  files: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): { code: number | null; last: string; text: string } {
  const folder = mkdtempSync(join(tmpdir(), 'runner-'));
  try {
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    const ran = spawnSync(process.execPath, ['--import', 'tsx', 'test/run.ts', '--dir', folder, ...args], {
      encoding: 'utf8',
      env: { ...process.env, DOPPEL_TEST_ACCOUNT: '', NODE_V8_COVERAGE: '' },
    });
    assert.ok(ran.stdout.endsWith('\n'));
    return { code: ran.status, last: ran.stdout.trimEnd().split('\n').at(-1) ?? '', text: ran.stdout + ran.stderr };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The letter of ps for a process: R, S and D live, Z is dead and waits for its parent; empty: there is none. */
function stateOf(pid: number): string {
  return spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
    .stdout.trim()
    .slice(0, 1);
}

const good = `${head}test('adds', () => assert.is(1 + 1, 2));\ntest('again', async () => {});\ntest.run();\n`;

test('counts the tests of good files, several suites and TypeScript included', () => {
  const suites = `${head}const a = suite('a'); a('x', () => {}); a.run();\nconst b = suite('b'); const n: number = 1; b('y', () => assert.is(n, 1)); b.run();\n`;
  const { code, last, text } = run({ 'good.test.ts': good, 'suites.test.ts': suites, 'helper.ts': 'throw new Error()' });
  assert.is(last, '4 passed, 0 failed', text);
  assert.is(code, 0);
});

test('runs only files that match a word', () => {
  const bad = `${head}test('no', () => assert.ok(false));\ntest.run();\n`;
  assert.is(run({ 'good.test.ts': good, 'bad.test.ts': bad }, ['good']).last, '2 passed, 0 failed');
  const none = run({ 'good.test.ts': good }, ['absent']);
  assert.is(none.last, '0 passed, 1 failed');
  assert.is(none.code, 1);
});

const bad: Readonly<Record<string, readonly [file: string, last: string, says: RegExp]>> = {
  'a failing test': [
    `${head}test('ok', () => {}); test('no', () => assert.is(1, 2));\ntest.run();`,
    '1 passed, 1 failed',
    /failed: no/,
  ],
  'an empty file': ['', '0 passed, 1 failed', /has no uvu tests/],
  'a file without tests': [`${head}test.run();`, '0 passed, 1 failed', /has no tests/],
  'a file that does not call run()': [`${head}test('a', () => {});`, '0 passed, 1 failed', /without run\(\)/],
  'a test after run()': [
    `${head}test('a', () => {});\ntest.run();\ntest('b', () => {});`,
    '1 passed, 1 failed',
    /registers 1 tests without run\(\)/,
  ],
  'a skipped test': [
    `${head}test('a', () => {}); test.skip('b', () => {});\ntest.run();`,
    '1 passed, 1 failed',
    /skips tests: b/,
  ],
  'a focused test': [`${head}test.only('a', () => {}); test('b', () => {});\ntest.run();`, '1 passed, 1 failed', /\.only: a/],
  'a focused test in a suite of its own': [
    `${head}const s = suite('s'); s.only('a', () => {});\ns.run();`,
    '1 passed, 1 failed',
    /\.only: a/,
  ],
  'a rejection after the summary': [
    `${head}test('a', () => {}); test.run();\nsetTimeout(() => { Promise.reject(new Error('late')); }, 300);`,
    '1 passed, 1 failed',
    /something after the tests threw[\s\S]*late/,
  ],
  'an exception after the summary': [
    `${head}test('a', () => {}); test.run();\nsetTimeout(() => { throw new Error('late'); }, 300);`,
    '1 passed, 1 failed',
    /exit code 1 although no test failed/,
  ],
  'a before hook that throws, which uvu forgets': [
    `${head}test.before(() => { throw new Error('hook'); }); test('a', () => {}); test.run();`,
    '0 passed, 1 failed',
    /left 1 of 1 tests unexecuted/,
  ],
  'an after hook that throws': [
    `${head}test.after(() => { throw new Error('hook'); }); test('a', () => {}); test.run();`,
    '1 passed, 1 failed',
    /hook/,
  ],
  'an exit in the middle': [
    `${head}test('a', () => {}); test('b', () => process.exit(0)); test('c', () => {});\ntest.run();`,
    '1 passed, 2 failed',
    /in the middle of a test, last started: "b"/,
  ],
  'a promise that never settles': [
    `${head}test('a', () => new Promise(() => {}));\ntest.run();`,
    '0 passed, 1 failed',
    /in the middle of a test/,
  ],
  'a syntax error': [`${head}test('a', ( => {});`, '0 passed, 1 failed', /exit code 1 before any test/],
  'a process that kills itself': [
    `${head}test('a', () => process.kill(process.pid, 'SIGKILL'));\ntest.run();`,
    '0 passed, 1 failed',
    /killed by SIGKILL/,
  ],
  'a missing privilege': [
    `${head}import { needRoot } from '${new URL('../fixtures/privilege.ts', import.meta.url)}';\nprocess.getuid = () => 1000;\ntest('a', () => needRoot()); test.run();`,
    '0 passed, 1 failed',
    /must run as root/,
  ],
};

for (const [what, [file, last, says]] of Object.entries(bad)) {
  test(`reports ${what}`, () => {
    const result = run({ 'bad.test.ts': file });
    assert.match(result.text, says);
    assert.is(result.last, last, result.text);
    assert.is(result.code, 1);
  });
}

test('ends a file that hangs, with the processes it started', () => {
  const hangs = `${head}import { spawn } from 'node:child_process';\ntest('a', () => { const child = spawn('sleep', ['61.25'], { stdio: 'inherit' }); console.log('child', child.pid); });\ntest.run();`;
  const { last, text } = run({ 'hangs.test.ts': hangs }, ['--timeout', '3']);
  assert.match(text, /timed out after 3 s/);
  assert.is(last, '0 passed, 1 failed');
  const child = Number(/child (\d+)/.exec(text)?.[1]);
  assert.ok(child > 0);
  assert.not.match(stateOf(child), /[RSD]/);
});

test('reports and detaches loop devices left behind on files of the test', () => {
  const leaks = `${head}import { execFileSync } from 'node:child_process';\nimport { tmpdir } from 'node:os';\nimport { join } from 'node:path';
test('a', () => { const file = join(tmpdir(), 'leak.img'); execFileSync('truncate', ['-s', '1M', file]);
  console.log('loop', execFileSync('losetup', ['-f', '--show', file], { encoding: 'utf8' })); });\ntest.run();`;
  const { last, text } = run({ 'leaks.test.ts': leaks });
  const device = /loop (\/dev\/loop\d+)/.exec(text)?.[1] ?? '';
  assert.match(text, new RegExp(`left behind: loop device ${device}`));
  assert.is(last, '1 passed, 1 failed');
  const still = spawnSync('losetup', [device], { encoding: 'utf8' });
  assert.not.match(still.stdout, /leak\.img/);
});

test('runs *.serial.test.ts after all others, one at a time', () => {
  const slow = `${head}test('a', () => new Promise((done) => { setTimeout(done, 500); }));\ntest.run();`;
  const { text, last } = run({ 'a.serial.test.ts': good, 'b.test.ts': slow, 'c.test.ts': slow });
  assert.is(last, '4 passed, 0 failed');
  assert.ok(text.indexOf('a.serial') > Math.max(text.indexOf('b.test.ts'), text.indexOf('c.test.ts')), text);
});

test.run();
