/** A part of a captured disk as a disk of its own, without a table: as a part of any other disk would be seen. */
import { type ArchivedPart, rebased } from '../archive/archived-disk.ts';
import { NoSuchPartError } from '../image/errors.ts';
import type { PartSelector } from '../image/spec.ts';
import { selectedPart } from '../layout/part-of-disk.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Part } from './disk.ts';
import type { ArchivedMachine } from './machine.ts';

/** @throws NoSuchPartError when no captured part is meant, or more than one */
export function partAsDisk(
  { image, disk, contents }: ArchivedMachine,
  selector: PartSelector,
): { readonly place: ArchivedPart; readonly asDisk: ArchivedMachine } {
  if (disk.table === undefined) throw new NoSuchPartError(disk.name, selector.text, 'it has no partition table', []);
  const candidates = disk.parts.flatMap(({ entry, ...part }) => (entry === undefined ? [] : [{ ...part, entry }]));
  const { number, range, fs, mountPoint } = selectedPart(disk.name, selector, candidates);
  const { kind: table, sectorSize: said } = disk.table;
  // An MBR table says nowhere how large its sectors are.
  const sectorSize = table === 'gpt' ? said : image.sectorSize;
  const name = `${disk.name}#${selector.text}`;
  const whole = { offset: 0, length: range.length };
  const { data, zero } = rebased(image, range);
  const part: Part = { number: 0, range: whole, label: 'the whole disk', kind: 'os', ...(fs === undefined ? {} : { fs }) };
  const { how, whole: isWhole } = contents.get(number) ?? { how: 'every byte', whole: true };
  const { system } = disk;
  return {
    place: { name, range, sectorSize },
    asDisk: {
      image: { name: image.name, size: range.length, sectorSize, data, zero },
      disk: {
        name,
        size: range.length,
        sectorSize,
        unreadableTable: IntervalSet.empty,
        parts: [part],
        regions: [],
        ...(system === undefined || mountPoint !== '/' ? {} : { system }),
        notes: [],
      },
      contents: new Map([[0, { data, zero, unused: IntervalSet.of(whole).subtract(data).subtract(zero), how, whole: isWhole }]]),
      loaders: IntervalSet.empty,
      kinds: {},
    },
  };
}
