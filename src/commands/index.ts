/** The commands of doppel by id, words separated by `:`. */
import type { Command } from '@oclif/core';

export const COMMANDS: Record<string, Command.Class> = {};
