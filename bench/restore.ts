/** Getting a whole disk out of an archive, against the others with theirs. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { archiversFor, same } from './archivers.ts';
import { hold } from './contest.ts';
import { commandsRun, report } from './report.ts';
import type { BenchOptions } from './run.ts';

export async function benchRestore({ image, folder, rounds, say }: BenchOptions): Promise<string> {
  const target = join(folder, 'target.img');
  const archives = join(folder, 'archives');
  const placed = archiversFor(image).map((archiver, index) => ({ ...archiver, place: join(archives, String(index)) }));
  const before = async (): Promise<void> => {
    rmSync(target, { force: true });
    writeFileSync(target, '');
    truncateSync(target, statSync(image).size);
  };
  try {
    for (const { name, make, place } of placed) {
      say(`Restore: making the archive of ${name}`);
      mkdirSync(place, { recursive: true });
      execFileSync('bash', ['-euo', 'pipefail', '-c', make(image, place)], { stdio: ['ignore', 'ignore', 'inherit'] });
    }
    const contestants = placed.map(({ name, version, restore, place, exact }) => ({
      name,
      version,
      command: restore(place, target),
      ...(exact ? { check: async () => same(image, target) } : {}),
    }));
    const title = 'Restore to a file';
    const sources = placed.map(({ place }) => place);
    const scores = await hold({ title, rounds, folder, sources, before, contestants, say });
    return `${report(title, scores)}\n${commandsRun(contestants)}`;
  } finally {
    rmSync(archives, { recursive: true, force: true });
    rmSync(target, { force: true });
  }
}
