/** Who signed an archive, and who can read it. */
import type { ArchiveFacts } from '../engine/archive/facts.ts';
import type { Facts } from './disk-view.ts';

const states = { trusted: 'trusted', unknown: 'unknown', unchecked: 'not checked' };

export function secrecyFacts({ signature, encrypted, profile }: Omit<ArchiveFacts, 'digest'>): Facts {
  return [
    signature.state === 'unsigned' ? ['Signed', 'no'] : ['Signed by', `${signature.key} (${states[signature.state]})`],
    ...(encrypted ? ([['Encrypted', 'with age']] as const) : []),
    ...(profile ? ([['Profile', 'that of its source, encrypted with age']] as const) : []),
  ];
}
