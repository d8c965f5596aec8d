/** All commands: doppel's own, and help and shell completion from oclif's plugins, bundled so that starting loads no plugin. */
import type { Command } from '@oclif/core';
import { commands as help } from '@oclif/plugin-help';
// The completion plugin exports no commands by name.
import CompletionCreate from '../node_modules/@oclif/plugin-autocomplete/lib/commands/autocomplete/create.js';
import Completion from '../node_modules/@oclif/plugin-autocomplete/lib/commands/autocomplete/index.js';
import CompletionScript from '../node_modules/@oclif/plugin-autocomplete/lib/commands/autocomplete/script.js';
import { COMMANDS as own } from './commands/index.ts';

export const COMMANDS: Record<string, Command.Class> = {
  ...own,
  help: help.help as Command.Class,
  autocomplete: Completion as Command.Class,
  'autocomplete:create': CompletionCreate as Command.Class,
  'autocomplete:script': CompletionScript as Command.Class,
};
