/** What `doppel profile show` and `list` print. */
import { stringify } from 'yaml';
import type { ShownProfile } from '../engine/duplicate/show-profile.ts';
import { printable } from './format.ts';
import { facts } from './table.ts';

export function profileText({ bundle, generation, problems }: ShownProfile, region: string): string {
  const { resolved, generated, source } = bundle;
  return [
    facts([
      ['Host', resolved.host],
      ['Target id', bundle.targetId],
      ['Region', `${region}, generation ${generation}`],
      ['Written', `${bundle.written} from ${source.file}`],
      ['Machine id', generated.machineId],
      ...generated.sshHostKeys.map((key) => ['SSH host key', key.publicKey.trim()] as const),
      ...problems.map((problem) => ['Damage', problem] as const),
    ]),
    printable(stringify(resolved, { lineWidth: 0 })),
  ].join('\n');
}
