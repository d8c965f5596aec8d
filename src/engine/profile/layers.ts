/** A profile and the bases it extends, merged into one tree in which every value remembers its own file. */
import { realpath } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { quote } from './checks.ts';
import { type Diagnostic, diagnostic } from './diagnostic.ts';
import { child, type DocumentNode, type MapNode, textOf } from './document.ts';
import { merge } from './merge.ts';
import { apiVersion } from './model.ts';
import { maxProfileBytes, parseProfileText } from './parse.ts';
import { decodeUtf8, findProfile, listProfiles, readProfileBytes, searchDirectories } from './search.ts';

/** Profiles that one may extend, directly and indirectly. */
const maxFiles = 64;

export interface ProfileText {
  /** For messages, and to notice that a base extends this very file. */
  readonly file: string;
  readonly text: string;
}
export interface Layers {
  readonly source: ProfileText;
  /** Absent when the profile itself is not YAML. */
  readonly root?: MapNode;
  /** The profile first, then its bases in the order in which they were read. */
  readonly files: readonly string[];
  readonly diagnostics: readonly Diagnostic[];
}

/** @throws ProfileError when the profile itself cannot be read */
export async function readLayers(profile: string | ProfileText, searchPath: readonly string[], shipped: string): Promise<Layers> {
  const source = typeof profile === 'string' ? await readText(profile) : profile;
  const reader = new LayerReader(searchPath, shipped);
  if ('problem' in source)
    return { source: { file: source.file, text: '' }, files: [source.file], diagnostics: [source.problem] };
  const root = await reader.read(source, []);
  return { source, ...(root === undefined ? {} : { root }), files: reader.files, diagnostics: reader.diagnostics };
}

async function readText(file: string): Promise<ProfileText | { file: string; problem: Diagnostic }> {
  const bytes = await readProfileBytes(file);
  const start = { file, line: 1, column: 1 };
  if (bytes.length > maxProfileBytes) {
    return {
      file,
      problem: diagnostic('E000', `the file is larger than a profile may be, ${maxProfileBytes} bytes (1 MiB)`, '', start),
    };
  }
  const text = decodeUtf8(bytes);
  if (text !== undefined) return { file, text };
  const good = new TextDecoder().decode(bytes).split('\uFFFD')[0] ?? '';
  const lines = good.split('\n');
  const at = { file, line: lines.length, column: (lines.at(-1) ?? '').length + 1 };
  return { file, problem: diagnostic('E000', 'the file is not UTF-8 text', '', at) };
}

class LayerReader {
  readonly files: string[] = [];
  readonly diagnostics: Diagnostic[] = [];
  readonly #done = new Map<string, MapNode | undefined>();
  readonly #searchPath: readonly string[];
  readonly #shipped: string;

  constructor(searchPath: readonly string[], shipped: string) {
    this.#searchPath = searchPath;
    this.#shipped = shipped;
  }

  /** `chain` holds the real paths of the profiles that led here. */
  async read(source: ProfileText, chain: readonly string[]): Promise<MapNode | undefined> {
    this.files.push(source.file);
    const { root, diagnostics } = parseProfileText(source.text, source.file);
    this.diagnostics.push(...diagnostics);
    if (root === undefined) return undefined;
    this.#checkVersion(root);
    const here = [...chain, await realPath(source.file)];
    let below: MapNode | undefined;
    for (const node of this.#bases(root)) {
      const base = await this.#readBase(node, here);
      if (base !== undefined) below = below === undefined ? base : merge(below, base);
    }
    return below === undefined ? root : merge(inherited(below), root);
  }

  #checkVersion(root: MapNode): void {
    const node = child(root, 'apiVersion');
    if (textOf(node) === apiVersion) return;
    const place = node?.place ?? root.place;
    const message = `a profile of this version begins with "apiVersion: ${apiVersion}"`;
    this.diagnostics.push(diagnostic(node === undefined ? 'E031' : 'E030', message, 'apiVersion', place));
  }

  #bases(root: MapNode): readonly DocumentNode[] {
    const node = child(root, 'extends');
    if (node === undefined) return [];
    const list = node.kind === 'list' ? node.items : [node];
    const wrong = list.filter((item) => textOf(item) === undefined);
    for (const item of wrong) {
      const message = 'extends is the name of a base profile, or a list of names, as [base]';
      this.diagnostics.push(diagnostic('E030', message, item.place.path, item.place));
    }
    return list.filter((item) => !wrong.includes(item));
  }

  async #readBase(node: DocumentNode, chain: readonly string[]): Promise<MapNode | undefined> {
    const name = textOf(node) as string;
    const say = (code: 'E009' | 'E010', message: string) => {
      this.diagnostics.push(diagnostic(code, message, node.place.path, node.place));
      return undefined;
    };
    const directories = searchDirectories(this.#searchPath, this.#shipped);
    const file = await findProfile(name, directories);
    if (file === undefined) {
      const names = [...new Set((await listProfiles(this.#searchPath, this.#shipped)).map((profile) => profile.name))];
      const exist = names.length > 0 ? `there are ${names.join(', ')}` : 'there are none';
      return say(
        'E010',
        `there is no base profile ${quote(name)} in ${directories.join(', ')}; ${exist}. --profiles DIR adds a directory`,
      );
    }
    const real = await realPath(file);
    const from = chain.indexOf(real);
    if (from >= 0) {
      const cycle = [...chain.slice(from), real].map((path) => basename(path)).join(' -> ');
      return say('E009', `extends leads back to itself: ${cycle}; take one of them out`);
    }
    if (this.#done.has(real)) return this.#done.get(real);
    if (this.files.length >= maxFiles) return say('E010', `more than ${maxFiles} profiles are extended`);
    const source = await readText(file);
    if ('problem' in source) {
      this.files.push(file);
      this.diagnostics.push(source.problem);
      this.#done.set(real, undefined);
      return undefined;
    }
    const base = await this.read(source, chain);
    this.#done.set(real, base);
    return base;
  }
}

/** What a base hands on: everything but what speaks of the file itself. */
function inherited(base: MapNode): MapNode {
  const own = ['apiVersion', 'description', 'extends'];
  return { ...base, entries: new Map([...base.entries].filter(([key]) => !own.includes(key))) };
}

async function realPath(file: string): Promise<string> {
  try {
    return await realpath(file);
  } catch (error) {
    // A text that was handed in may carry any name.
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return resolve(file);
    throw error;
  }
}
