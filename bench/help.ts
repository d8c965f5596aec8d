/** How long the program takes to start. */
import { hold } from './contest.ts';
import { doppel, doppelVersion } from './doppel.ts';
import { commandsRun, report } from './report.ts';
import type { BenchOptions } from './run.ts';

/** One start is too short to be measured alone. */
const TIMES = 20;

export async function benchHelp({ folder, rounds, say }: BenchOptions): Promise<string> {
  const repeated = (command: string) => `for i in $(seq ${TIMES}); do ${command} >/dev/null; done`;
  const contestants = [
    { name: `doppel --help, ${TIMES} times`, command: repeated(`${doppel} --help`), version: doppelVersion },
    { name: `node -e 0, ${TIMES} times`, command: repeated('node -e 0'), version: ['node', '--version'] },
  ];
  const title = 'Start';
  const scores = await hold({ title, rounds, folder, sources: [], before: async () => {}, contestants, say });
  return `${report(title, scores)}\n${commandsRun(contestants)}`;
}
