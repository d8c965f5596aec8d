/** Putting a whole disk into an archive, against what people use for that. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { archiversFor } from './archivers.ts';
import { hold } from './contest.ts';
import { commandsRun, report } from './report.ts';
import type { BenchOptions } from './run.ts';

export async function benchCapture({ image, folder, rounds, say }: BenchOptions): Promise<string> {
  const place = join(folder, 'archive');
  const contestants = archiversFor(image)
    // What is restored in another way is made in the same.
    .filter(({ name }) => !name.endsWith('--no-verify'))
    .map(({ name, version, make }) => ({ name, version, command: make(image, place), makes: place }));
  const before = async (): Promise<void> => {
    rmSync(place, { recursive: true, force: true });
    mkdirSync(place);
  };
  const title = 'Capture';
  try {
    const scores = await hold({ title, rounds, folder, sources: [image], before, contestants, say });
    return `${report(title, scores)}\n${commandsRun(contestants)}`;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
