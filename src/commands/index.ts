/** The commands of doppel by id, words separated by `:`. */
import type { Command } from '@oclif/core';
import ArchiveDiff from './archive/diff.ts';
import ArchiveExtract from './archive/extract.ts';
import ArchiveList from './archive/list.ts';
import ArchivePrune from './archive/prune.ts';
import ArchiveVerify from './archive/verify.ts';
import Capture from './capture.ts';
import Clone from './clone.ts';
import Inspect from './inspect.ts';
import Personalize from './personalize.ts';
import ProfileInit from './profile/init.ts';
import ProfileList from './profile/list.ts';
import ProfileShow from './profile/show.ts';
import ProfileValidate from './profile/validate.ts';
import ProfileWrite from './profile/write.ts';
import Receive from './receive.ts';
import Restore from './restore.ts';
import Verify from './verify.ts';

export const COMMANDS: Record<string, Command.Class> = {
  'archive:diff': ArchiveDiff,
  'archive:extract': ArchiveExtract,
  'archive:list': ArchiveList,
  'archive:prune': ArchivePrune,
  'archive:verify': ArchiveVerify,
  capture: Capture,
  clone: Clone,
  inspect: Inspect,
  personalize: Personalize,
  'profile:init': ProfileInit,
  'profile:list': ProfileList,
  'profile:show': ProfileShow,
  'profile:validate': ProfileValidate,
  'profile:write': ProfileWrite,
  receive: Receive,
  restore: Restore,
  verify: Verify,
};
