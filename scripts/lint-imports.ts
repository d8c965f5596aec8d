/**
 * Holds the order of the layers in src: imports run downward only, and the engine neither prints nor knows the command line.
 * `lintImports(folder)` gives the violations; run as a program it prints them and exits 1 if there are any.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** From the top down; what stands on one line is of one rank and must not import each other. */
const layers: readonly (readonly string[])[] = [
  // The program: main.ts and command-table.ts.
  ['.'],
  ['commands'],
  ['ui'],
  ['engine/duplicate', 'engine/live'],
  ['engine/persona'],
  ['engine/profile'],
  ['engine/archive', 'engine/layout'],
  ['engine/protect'],
  ['engine/lanes'],
  ['engine/image'],
  ['engine/native'],
  // errors.ts, events.ts
  ['engine'],
];

const notInEngine = /^(@oclif\/|listr2$|log-update$|chalk$|node:readline|node:repl|node:tty)/;

export interface Violation {
  /** Relative to the linted folder. */
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

/** Violations in a `src` folder, in order of file and line. */
export function lintImports(src: string): Violation[] {
  return readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.[cm]?tsx?$/.test(file))
    .sort()
    .flatMap((file) => lintFile(src, file));
}

function lintFile(src: string, file: string): Violation[] {
  const source = ts.createSourceFile(file, readFileSync(join(src, file), 'utf8'), ts.ScriptTarget.Latest, true);
  const violations: Violation[] = [];
  const report = (node: ts.Node, message: string): void => {
    violations.push({ file, line: source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1, message });
  };
  const layer = layerOf(file);
  if (layer === undefined) return [{ file, line: 1, message: `belongs to no layer; known are ${layers.flat().join(', ')}` }];
  const inEngine = layer.name.startsWith('engine');

  const visit = (node: ts.Node): void => {
    const specifier = importedBy(node);
    if (specifier !== undefined) {
      const problem = specifier.startsWith('.') ? wrongWay(src, file, layer, specifier) : foreign(inEngine, specifier);
      if (problem !== undefined) report(node, problem);
    }
    if (inEngine) {
      const printed = prints(node);
      if (printed !== undefined) report(node, `the engine must not use ${printed}; give an event, return a value or throw`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return violations;
}

interface Layer {
  readonly name: string;
  readonly rank: number;
}

function layerOf(file: string): Layer | undefined {
  const parts = dirname(file).split(sep);
  const name = parts[0] === 'engine' ? parts.slice(0, 2).join('/') : (parts[0] ?? '.');
  const rank = layers.findIndex((names) => names.includes(name));
  return rank < 0 ? undefined : { name, rank };
}

/** The module that a node imports: import, export from, import(), require(), import types. */
function importedBy(node: ts.Node): string | undefined {
  if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined)
    return text(node.moduleSpecifier);
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return text(node.argument.literal);
  if (!ts.isCallExpression(node) || node.arguments[0] === undefined) return undefined;
  const called = node.expression;
  const imports = called.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(called) && called.text === 'require');
  return imports ? text(node.arguments[0]) : undefined;
}

function text(node: ts.Node): string | undefined {
  return ts.isStringLiteralLike(node) ? node.text : undefined;
}

function wrongWay(src: string, file: string, from: Layer, specifier: string): string | undefined {
  const target = relative(src, join(src, dirname(file), specifier));
  if (target.startsWith('..')) return target.includes('node_modules') ? undefined : `imports ${specifier}, which is outside src`;
  const to = layerOf(target);
  if (to === undefined) return `imports ${specifier}, which belongs to no layer`;
  if (to.name === from.name || to.rank > from.rank) return undefined;
  return `${from.name} imports ${to.name} (${specifier}): imports run downward only`;
}

function foreign(inEngine: boolean, specifier: string): string | undefined {
  return inEngine && notInEngine.test(specifier) ? `the engine must not import ${specifier}` : undefined;
}

/** `console`, and what of `process` writes, asks or ends. */
function prints(node: ts.Node): string | undefined {
  if (!ts.isPropertyAccessExpression(node) || !ts.isIdentifier(node.expression)) return undefined;
  const [object, property] = [node.expression.text, node.name.text];
  if (object === 'console') return `console.${property}`;
  return object === 'process' && ['stdout', 'stderr', 'stdin', 'exit', 'exitCode'].includes(property)
    ? `process.${property}`
    : undefined;
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const violations = lintImports(join(dirname(dirname(fileURLToPath(import.meta.url))), 'src'));
  for (const { file, line, message } of violations) console.error(`src/${file}:${line}: ${message}`);
  process.exitCode = violations.length === 0 ? 0 : 1;
}
