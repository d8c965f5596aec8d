import { Flags } from '@oclif/core';
import { BaseCommand, progressFlag } from '../ui/base-command.ts';
import { cloneFlags } from '../ui/clone-request.ts';
import {
  accessFlags,
  archiveAccess,
  asFlag,
  identityRequest,
  kindChoice,
  kindFlags,
  kindOverrides,
  profilesFlag,
  sourceArgument,
  targetArgument,
} from '../ui/flags.ts';
import { writeOutput } from '../ui/output.ts';

/** The flag of clone, told as what it means here. */
function compared<T extends object>(flag: T, summary: string): T {
  return { ...flag, summary };
}

export default class Verify extends BaseCommand {
  static override summary = 'Compare a target with what a clone of the source would be.';
  static override description =
    'Reads only. Parts that nothing was rewritten on are compared byte for byte, parts whose files the profile changes ' +
    'file by file: each must be as on SOURCE, or as the profile says. Flags that `clone` has too mean what the clone was made ' +
    'with. Exits 8 and tells where when they differ.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> server.img target.img',
    '<%= config.bin %> <%= command.id %> /dev/sda /dev/sdb --as none --exact',
    '<%= config.bin %> <%= command.id %> server.qcow2 /dev/sdb --grow root --new-guids',
  ];
  static override args = { source: sourceArgument, target: targetArgument };
  static override flags = {
    as: asFlag,
    profiles: profilesFlag,
    only: compared(kindFlags.only, 'Compare only parts of this kind.'),
    skip: compared(kindFlags.skip, 'Do not compare parts of this kind.'),
    kind: kindFlags.kind,
    grow: compared(cloneFlags.grow, 'This part of the source (number or label) was to take the free space behind it.'),
    'new-guids': compared(cloneFlags['new-guids'], 'The ids of the disk and its parts are to be others than on the source.'),
    exact: Flags.boolean({ summary: 'Compare every byte, also unused ones and those between partitions.' }),
    'on-read-error': compared(
      cloneFlags['on-read-error'],
      'What was to become of sectors that cannot be read: fail, or expect zeros, or do not compare them.',
    ),
    'source-map': cloneFlags['source-map'],
    ...accessFlags,
    ...progressFlag,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Verify);
    const [{ verifyClone, differenceError }, { verifyText }] = await Promise.all([
      import('../engine/duplicate/verify.ts'),
      import('../ui/verify-view.ts'),
    ]);
    const { choice, file, profiles } = identityRequest(flags.as, flags.profiles, false);
    const request = {
      ...args,
      access: archiveAccess(flags),
      as: choice,
      ...(file === undefined ? {} : { file }),
      profiles,
      kinds: kindChoice(flags),
      kindOverrides: kindOverrides(flags.kind),
      exact: flags.exact,
      grow: flags.grow ?? [],
      newGuids: flags['new-guids'],
      readErrors: flags['on-read-error'],
      ...(flags['source-map'] === undefined ? {} : { sourceMap: flags['source-map'] }),
    };
    const result = await this.work(flags, (run) => verifyClone(request, run));
    if (!result.equal) {
      if (!flags.json) writeOutput(verifyText(result));
      throw differenceError(result);
    }
    this.show(flags, { result }, verifyText(result));
  }
}
