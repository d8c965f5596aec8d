/**
 * Side-by-side measurements: npm run bench -- clone|verify|delta|capture|restore|delta-restore|help [--image FILE] [--later FILE] [--rounds N] [--folder DIR].
 * Without --image a Debian server is made, without --later the same with a part of its files changed. Reports, never fails a limit.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { makeBootableServer } from '../test/fixtures/bootable-server.ts';
import { benchCapture } from './capture.ts';
import { benchClone } from './clone.ts';
import { benchDelta } from './delta.ts';
import { benchDeltaRestore } from './delta-restore.ts';
import { benchHelp } from './help.ts';
import { ageImage } from './later.ts';
import { machine } from './report.ts';
import { benchRestore } from './restore.ts';
import { benchVerify } from './verify.ts';

export interface BenchOptions {
  /** Raw disk image. */
  readonly image: string;
  /** The same machine later; made at the first call. */
  readonly later: () => string;
  /** For targets; on the file system that is measured. */
  readonly folder: string;
  readonly rounds: number;
  readonly say: (text: string) => void;
}

const benches: Readonly<Record<string, (options: BenchOptions) => Promise<string>>> = {
  clone: benchClone,
  verify: benchVerify,
  delta: benchDelta,
  capture: benchCapture,
  restore: benchRestore,
  'delta-restore': benchDeltaRestore,
  help: benchHelp,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    image: { type: 'string' },
    later: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    folder: { type: 'string' },
  },
});
const chosen = positionals.length === 0 ? Object.keys(benches) : positionals;
const unknown = chosen.find((name) => !Object.hasOwn(benches, name));
if (unknown !== undefined) throw new Error(`there is no bench "${unknown}": ${Object.keys(benches).join(', ')}`);

const say = (text: string): void => console.error(text);
const base = values.folder ?? join(tmpdir(), 'doppel-bench');
mkdirSync(base, { recursive: true });
const folder = mkdtempSync(join(base, 'run-'));
try {
  const image = values.image === undefined ? join(folder, 'server.img') : resolve(values.image);
  if (values.image === undefined) await makeBootableServer(image, { cache: join(base, 'cache'), say });
  const given = values.later === undefined ? undefined : resolve(values.later);
  let made: string | undefined;
  const later = (): string => {
    made ??= given ?? ageImage(image, join(folder, 'later.img'));
    return made;
  };
  const rounds = Number(values.rounds);
  console.log(`${machine()}\n${image}: ${statSync(image).size} bytes, median of ${rounds} rounds, in turns\n`);
  for (const name of chosen) {
    console.log(await (benches[name] as (options: BenchOptions) => Promise<string>)({ image, later, folder, rounds, say }));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
