import { Errors } from '@oclif/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CorruptInputError, RefusedError, RegionChangedError } from '../../src/engine/errors.ts';
import { errorDocument, errorText, exitCodeOf, isPlainExit } from '../../src/ui/errors.ts';

const refused = new RefusedError('sdb is mounted at /srv.', {
  code: 'TARGET_IN_USE',
  todo: 'Unmount it.',
  data: { path: '/dev/sdb' },
});

test('an error of the engine has its exit code, message, advice and data', () => {
  assert.is(exitCodeOf(refused), 4);
  assert.equal(errorDocument(refused, 'untouched'), {
    error: {
      code: 'TARGET_IN_USE',
      message: 'sdb is mounted at /srv.',
      todo: 'Unmount it.',
      exitCode: 4,
      data: { path: '/dev/sdb' },
    },
    target: 'untouched',
  });
  assert.is(
    errorText(refused, 'untouched'),
    'doppel: sdb is mounted at /srv.\n  Unmount it.\n  TARGET_IN_USE (exit 4), target untouched\n',
  );
  assert.is(exitCodeOf(new RegionChangedError('x', { code: 'REGION_CHANGED', todo: 'y' })), 10);
});

test('causes are told, but no stack and nothing twice', () => {
  const cause = new Error('read 4096 bytes at 512: EIO', { cause: new Error('EIO') });
  const text = errorText(
    new CorruptInputError('The table cannot be read.', { code: 'X', todo: 'Look at the disk.', cause }),
    'fenced',
  );
  assert.match(text, /^doppel: The table cannot be read\.\n {2}because: read 4096 bytes at 512: EIO\n/);
  assert.match(text, /target fenced/);
  assert.not.match(text, /\n\s+at /);
});

test('anything else is a bug: exit 1, with the stack', () => {
  const bug = new TypeError('undefined is not a function');
  assert.is(exitCodeOf(bug), 1);
  assert.match(errorText(bug, 'untouched'), /this is a bug: TypeError: undefined is not a function\n\s+at .*errors\.test\.ts/);
  assert.is(errorDocument(bug, 'fenced').error.code, 'BUG');
  assert.is(exitCodeOf('a string'), 1);
  assert.match(errorText('a string', 'untouched'), /bug/);
});

test('what oclif does not understand is a usage error; its exit is none', () => {
  const usage = new Errors.CLIError('Nonexistent flag: --bad\nSee more help with --help');
  assert.is(exitCodeOf(usage), 2);
  assert.is(errorDocument(usage, 'untouched').error.message, 'Nonexistent flag: --bad');
  assert.ok(isPlainExit(new Errors.ExitError(3)));
  assert.is(exitCodeOf(new Errors.ExitError(3)), 3);
  assert.is(exitCodeOf(new Errors.ExitError(0)), 0);
});

test('text from a disk cannot talk to the terminal', () => {
  const evil = new RefusedError('host \u001b]0;owned\u0007 is there', { code: 'X', todo: '\u009b2J' });
  assert.not.match(errorText(evil, 'untouched'), /[\u001b\u0007\u009b]/);
});

test('a cause that refers to itself does no harm', () => {
  const loop = new Error('round');
  loop.cause = loop;
  assert.match(errorText(new RefusedError('x', { code: 'X', todo: 'y', cause: loop }), 'untouched'), /because: round/);
});

test.run();
