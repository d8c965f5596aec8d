/** All commands: doppel's own, and help and shell completion from oclif's plugins, bundled so that starting loads no plugin. */
import type { Command } from '@oclif/core';
import { commands as help } from '@oclif/plugin-help';
// The completion plugin exports no commands by name.
import CompletionScript from '../node_modules/@oclif/plugin-autocomplete/lib/commands/autocomplete/script.js';
import { COMMANDS as own } from './commands/index.ts';
import Completion from './ui/completion.ts';

export const COMMANDS: Record<string, Command.Class> = {
  ...own,
  help: help.help as Command.Class,
  autocomplete: Completion as Command.Class,
  'autocomplete:script': CompletionScript as Command.Class,
};
