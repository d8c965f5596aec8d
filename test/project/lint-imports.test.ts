import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lintImports } from '../../scripts/lint-imports.ts';
import { tempDir } from '../fixtures/temp.ts';

/** Violations in a tree of these files, as `file:line message`. */
function lint(files: Readonly<Record<string, string>>): string[] {
  const src = tempDir('lint');
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(src, name)), { recursive: true });
    writeFileSync(join(src, name), text);
  }
  return lintImports(src).map(({ file, line, message }) => `${file}:${line} ${message}`);
}

test('lets imports run downward, sideways within a layer, and to what stands below all', () => {
  const found = lint({
    'main.ts': "import './commands/index.ts'; import './ui/a.ts';",
    'commands/index.ts': "import '../ui/a.ts'; import '../engine/duplicate/plan.ts'; import { Command } from '@oclif/core';",
    'ui/a.ts': "import '../engine/errors.ts'; import 'listr2'; console.log(process.stdout);",
    'engine/duplicate/plan.ts': "import '../persona/deep/a.ts'; import './b.ts'; import '../native/libc.ts';",
    'engine/persona/deep/a.ts': "import '../b.ts'; import '../../profile/model.ts'; import '../../errors.ts';",
    'engine/native/libc.ts': "import koffi from 'koffi'; import { open } from 'node:fs';",
  });
  assert.equal(found, []);
});

const bad: Readonly<Record<string, readonly [file: string, text: string, says: RegExp]>> = {
  'an import upward': [
    'engine/image/a.ts',
    "\nimport { x } from '../layout/b.ts';",
    /^engine\/image\/a\.ts:2 engine\/image imports engine\/layout/,
  ],
  'a type imported upward': ['engine/image/a.ts', "import type { X } from '../protect/b.ts';", /image imports engine\/protect/],
  'an export from above': ['engine/native/a.ts', "export * from '../image/b.ts';", /native imports engine\/image/],
  'a dynamic import upward': [
    'engine/profile/a.ts',
    "export const f = () => import('../persona/b.ts');",
    /profile imports engine\/persona/,
  ],
  'an import type upward': ['engine/lanes/a.ts', "export type X = import('../protect/b.ts').X;", /lanes imports engine\/protect/],
  'an import between layers of one rank': ['engine/layout/a.ts', "import '../archive/b.ts';", /layout imports engine\/archive/],
  'a bottom file that looks up': ['engine/errors.ts', "import './native/libc.ts';", /engine imports engine\/native/],
  'the engine knowing the screen': ['engine/duplicate/a.ts', "import '../../ui/table.ts';", /engine\/duplicate imports ui/],
  'the screen knowing commands': ['ui/a.ts', "import '../commands/index.ts';", /ui imports commands/],
  'the engine knowing the program': ['engine/image/a.ts', "import '../../main.ts';", /imports \./],
  'the engine knowing oclif': ['engine/profile/a.ts', "import { Flags } from '@oclif/core';", /must not import @oclif\/core/],
  'the engine drawing': ['engine/live/a.ts', "import { Listr } from 'listr2';", /must not import listr2/],
  'the engine printing': ['engine/lanes/a.ts', "export const f = () => console.error('x');", /must not use console\.error/],
  'the engine writing to stdout': ['engine/lanes/a.ts', "process.stdout.write('x');", /must not use process\.stdout/],
  'the engine ending the process': ['engine/lanes/a.ts', 'process.exit(1);', /must not use process\.exit/],
  'an import from outside src': ['engine/lanes/a.ts', "import '../../../test/fixtures/temp.ts';", /outside src/],
  'a folder that nobody knows': ['engine/misc/a.ts', '', /belongs to no layer/],
};

for (const [what, [file, text, says]] of Object.entries(bad)) {
  test(`reports ${what}`, () => {
    const found = lint({ [file]: text });
    assert.is(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', says);
  });
}

test('does not take comments and strings for code', () => {
  const found = lint({
    'engine/lanes/a.ts': "// console.log(1); import '../../ui/table.ts'\nexport const text = \"import '../protect/b.ts'\";",
  });
  assert.equal(found, []);
});

test.run();
