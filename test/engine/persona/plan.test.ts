/** The plan as a whole: pure, complete, idempotent, safe to run again after any crash, and shown without secrets. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { applyPersona } from '../../../src/engine/persona/apply.ts';
import {
  DriftError,
  NotASystemError,
  PersonaNotSettledError,
  PersonaProblemsError,
  UnusableFileError,
} from '../../../src/engine/persona/errors.ts';
import { operations } from '../../../src/engine/persona/operations/index.ts';
import { renderDiff, summarizeChanges } from '../../../src/engine/persona/render.ts';
import type { Change, FileState } from '../../../src/engine/persona/tree.ts';
import { DirectoryTree } from '../../../src/engine/persona/trees/directory.ts';
import { bundle, lan } from './bundles.ts';
import { inDirectory, linkAt, makeDebian, personalize, plan, textAt, writeAt } from './trees-on-disk.ts';

const everything = bundle(
  {
    network: lan,
    target: 'multi-user.target',
    services: { enable: ['ssh'], disable: ['nginx'], mask: ['cron'] },
    drivers: { load: ['ixgbe'], blacklist: ['nf_conntrack'], options: {} },
    users: [{ name: 'root', hashedPassword: { secret: 'hash' } }],
    writeFiles: [{ path: '/etc/app/token', owner: 'root', permissions: '0600', content: { secret: 'token' } }],
  },
  { secrets: { hash: '$6$SECRETHASH', token: 'SECRETTOKEN\n' } },
);

const failure = (action: Promise<unknown>) =>
  action.then(
    () => undefined,
    (error: unknown) => error,
  );

/** Names, contents, modes, owners and links of a whole tree. */
const snapshot = (root: string) =>
  execFileSync(
    'sh',
    ['-c', 'cd "$0" && find . -printf "%p %m %U:%G %l\\n" | sort && find . -type f -exec sha256sum {} + | sort', root],
    { encoding: 'utf8' },
  );

test('planning writes nothing', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const before = snapshot(root);
    assert.ok((await plan(root, everything)).changes.length > 20);
    assert.is(snapshot(root), before);
  }));

/** Stops after every third step and starts again; the result must be that of a run that was never stopped. */
async function survivesKills(make: (root: string) => void): Promise<void> {
  let whole = '';
  let steps = 0;
  await inDirectory(async (root) => {
    make(root);
    steps = (await personalize(root, everything)).changes.length;
    whole = snapshot(root);
  });
  for (let killed = 1; killed < steps; killed += 3) {
    await inDirectory(async (root) => {
      make(root);
      const stop = new AbortController();
      const interrupted = applyPersona(new DirectoryTree(root), await plan(root, everything), {
        onStep: ({ step }) => step === killed && stop.abort(),
        signal: stop.signal,
      });
      assert.is(((await failure(interrupted)) as Error).name, 'AbortError');
      await personalize(root, everything);
      assert.is(snapshot(root), whole, `after step ${killed}`);
    });
  }
}

test('killed after any step, the same command finishes with the same result', () => survivesKills((root) => makeDebian(root)));

test('so it does where two network backends are enabled and only their files tell which is in charge', () =>
  survivesKills((root) => {
    makeDebian(root, 'ifupdown');
    linkAt(
      root,
      'etc/systemd/system/multi-user.target.wants/systemd-networkd.service',
      '/lib/systemd/system/systemd-networkd.service',
    );
  }));

test('a plan made before a crash goes on where it stopped, and says what it skips', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const made = await plan(root, everything);
    const tree = new DirectoryTree(root);
    for (const { path, after } of made.changes.slice(0, 9)) await tree.put(path, after);
    const done: string[] = [];
    await applyPersona(tree, made, { onStep: (step) => done.push(step.done) });
    assert.equal(
      done,
      made.changes.map((_, index) => (index < 9 ? 'skipped' : 'written')),
    );
  }));

test('a file that changed since the plan was made stops it', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const made = await plan(root, everything);
    writeAt(root, 'etc/hosts', 'changed\n');
    const error = await failure(applyPersona(new DirectoryTree(root), made));
    assert.instance(error, DriftError);
    assert.is(textAt(root, 'etc/hosts'), 'changed\n');
  }));

test('a plan with problems is not applied at all', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    const before = snapshot(root);
    const made = await plan(root, bundle({ services: { enable: ['nothing'], disable: [], mask: [] } }));
    const error = await failure(applyPersona(new DirectoryTree(root), made));
    assert.instance(error, PersonaProblemsError);
    assert.match((error as Error).message, /E014 services\.enable\[0\]: the unit nothing\.service/);
    assert.is(snapshot(root), before);
  }));

test('a target that loses a write is noticed', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    class Forgetful extends DirectoryTree {
      override async put(path: string, state: FileState): Promise<void> {
        if (path !== '/etc/hostname') await super.put(path, state);
      }
    }
    const error = await failure(applyPersona(new Forgetful(root), await plan(root, everything)));
    assert.instance(error, PersonaNotSettledError);
    assert.equal((error as PersonaNotSettledError).data.paths, ['/etc/hostname']);
  }));

test('what is no system, and a fifo where a configuration file belongs, are refused', () =>
  inDirectory(async (root) => {
    mkdirSync(join(root, 'data'));
    assert.instance(await failure(plan(root, everything)), NotASystemError);
    makeDebian(root);
    execFileSync('sh', ['-c', 'rm "$0" && mkfifo "$0"', join(root, 'etc/hostname')]);
    assert.instance(await failure(plan(root, everything)), UnusableFileError);
  }));

test('operations have unique names, ascending orders, and the machine id is last', () => {
  assert.is(new Set(operations.map(({ name }) => name)).size, operations.length);
  assert.equal(
    operations.map(({ order }) => order),
    operations.map(({ order }) => order).sort((a, b) => a - b),
  );
  assert.is(operations.at(-1)?.name, 'machine-id');
});

test('the documentation names every operation and every path it touches, in order', () => {
  const page = readFileSync(new URL('../../../docs/persona.md', import.meta.url), 'utf8');
  const rows = page.split('\n').filter((line) => /^\| `/.test(line));
  assert.equal(
    rows.map((row) => row.split('`')[1]),
    operations.map(({ name }) => name),
  );
  for (const [index, { touches }] of operations.entries()) {
    for (const path of touches) assert.ok(rows[index]?.includes(path), `${rows[index]} lacks ${path}`);
  }
});

test('neither the diff nor the JSON shows a secret, old or new', () =>
  inDirectory(async (root) => {
    makeDebian(root);
    writeAt(root, 'etc/app/token', 'OLDTOKEN\n', 0o600);
    const { changes } = await plan(root, everything);
    const shown = renderDiff(changes) + JSON.stringify(summarizeChanges(changes));
    assert.match(shown, /etc\/app\/token/);
    assert.match(shown, /sha256 [0-9a-f]{12}\b/);
    for (const secret of ['SECRETHASH', 'SECRETTOKEN', 'OLDTOKEN', 'NEW PRIVATE KEY', 'OLD PRIVATE KEY', 'root:*:'])
      assert.not(shown.includes(secret), secret);
    assert.match(shown, /-source-01\n\+web-07\n/);
  }));

test('the diff of text files is one that patch applies', () =>
  inDirectory((directory) => {
    const text = (content: string): FileState => ({ type: 'file', content: Buffer.from(content), mode: 0o644, uid: 0, gid: 0 });
    const lines = Array.from({ length: 60 }, (_, index) => `line ${(index * 7) % 11}`);
    const edited = [...lines.slice(0, 4), 'new', ...lines.slice(5, 30), ...lines.slice(33), 'end'];
    const cases: [string, string][] = [
      [`${lines.join('\n')}\n`, `${edited.join('\n')}\n`],
      ['', 'a\nb\n'],
      ['a\nb\n', ''],
      ['a\nb', 'a\nc'],
      ['a\nb\n', 'a\nb'],
    ];
    for (const [before, after] of cases) {
      const change: Change = { path: '/f', before: text(before), after: text(after), operation: 'x', secret: false };
      writeFileSync(join(directory, 'f'), before);
      execFileSync('patch', ['-s', '-p1', '-d', directory], { input: renderDiff([change]) });
      assert.is(textAt(directory, 'f'), after);
    }
  }));

test('terminal control characters of a hostile file are escaped', () => {
  const state: FileState = {
    type: 'file',
    content: Buffer.from('\u001b]0;owned\u0007\n\u009b2J\n'),
    mode: 0o644,
    uid: 0,
    gid: 0,
  };
  const shown = renderDiff([{ path: '/\u001b[2J', before: state, after: { type: 'absent' }, operation: 'x', secret: false }]);
  assert.match(shown, /-\\x1b\]0;owned\\x07\n-\\x9b2J/);
  assert.not.match(shown, /(?![\n\t])\p{Cc}/u);
});

test.run();
