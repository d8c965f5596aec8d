import { Args, Flags } from '@oclif/core';
import { BaseCommand, yesFlag } from '../../ui/base-command.ts';
import { formatBytes } from '../../ui/format.ts';

export default class ArchivePrune extends BaseCommand {
  static override summary = 'Remove what nothing names from the directory of an archive.';
  static override description =
    'Removes blobs that an interrupted capture left, or that no tag needs any more. Whatever index.json names stays, also what other ' +
    'tools have put there; when it names something that doppel cannot read, nothing is removed. No other tool may write to ' +
    'the directory meanwhile.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> golden --dry-run',
    '<%= config.bin %> <%= command.id %> golden',
    '<%= config.bin %> <%= command.id %> interrupted --unfinished',
  ];
  static override args = {
    directory: Args.string({ required: true, ignoreStdin: true, description: 'An archive that is a directory.' }),
  };
  static override flags = {
    ...yesFlag,
    'dry-run': Flags.boolean({ summary: 'Only tell what would be removed.' }),
    unfinished: Flags.boolean({ summary: 'The directory has no index.json, as after an interrupted capture: remove all blobs.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ArchivePrune);
    const { planPrune, executePrune } = await import('../../engine/archive/prune.ts');
    const plan = await planPrune(args.directory, flags);
    const { remove, kept } = plan;
    const removed = remove.reduce((sum, { size }) => sum + size, 0);
    const what = `${remove.length} ${remove.length === 1 ? 'file' : 'files'} (${formatBytes(removed)})`;
    const stays = `${kept.blobs} blobs (${formatBytes(kept.bytes)})`;
    if (!flags['dry-run'] && remove.length > 0) {
      await this.confirm(flags, { statement: `This removes ${what} from ${args.directory}.`, facts: [['What stays', stays]] });
      await executePrune(plan, flags);
    }
    const done = flags['dry-run'] ? 'Would remove' : 'Removed';
    const list = flags['dry-run'] ? remove.map(({ path, size }) => `  ${path}  ${formatBytes(size)}\n`).join('') : '';
    const said = remove.length === 0 ? 'Nothing is to be removed' : `${done} ${what}`;
    this.show(flags, { ...plan, dryRun: flags['dry-run'] }, `${list}${said}; ${stays} are needed.\n`);
  }
}
