/** The flags of `clone`, and what they ask of the engine. */
import { Flags } from '@oclif/core';
import { parseExpectation } from '../engine/duplicate/expect.ts';
import { defaultStateDir } from '../engine/duplicate/journal.ts';
import { unusedModes } from '../engine/duplicate/plan.ts';
import type { CopyRequest, TargetRequest } from '../engine/duplicate/request.ts';
import { ExitCode, UsageError } from '../engine/errors.ts';
import { readErrorPolicies } from '../engine/lanes/source-reader.ts';
import {
  type AccessFlags,
  accessFlags,
  archiveAccess,
  asFlag,
  identityRequest,
  kindChoice,
  kindFlags,
  kindOverrides,
  profilesFlag,
} from './flags.ts';
import { parseSize } from './format.ts';

export const cloneFlags = {
  as: asFlag,
  profiles: profilesFlag,
  'replace-profile': Flags.boolean({
    summary: 'With --as FILE or source: the target may become another host than its profile says.',
  }),
  'dry-run': Flags.boolean({ summary: 'Print the plan with all differences and stop.' }),
  'detailed-exitcode': Flags.boolean({
    dependsOn: ['dry-run'],
    summary: `With --dry-run: exit ${ExitCode.changesPending} when something would change.`,
  }),
  expect: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'Refuse a target that is not this one; keys: serial, wwn, size (bytes), host.',
    helpValue: 'KEY=VALUE',
  }),
  to: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'Another target, and who it shall be (as in --as): the source is read once for all of them.',
    helpValue: 'TARGET[=PROFILE]',
    helpGroup: 'TARGETS',
  }),
  size: Flags.string({
    summary:
      'Make the targets, with this size: new files, in the format that their names say (.img, .qcow2, .vmdk, .vhdx, .vdi).',
    helpValue: 'SIZE',
    helpGroup: 'TARGETS',
  }),
  ssh: Flags.string({
    default: 'ssh',
    summary: 'How to reach a target named ssh://[USER@]HOST[:PORT]/PATH: the program and its options.',
    helpValue: 'COMMAND',
    helpGroup: 'TARGETS',
  }),
  'remote-command': Flags.string({
    default: 'doppel',
    summary: 'How doppel is started there, as "sudo doppel".',
    helpValue: 'COMMAND',
    helpGroup: 'TARGETS',
  }),
  ...kindFlags,
  ...accessFlags,
  grow: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'This part of the source (number or label) takes the free space behind it, and so does its file system.',
    helpValue: 'PART',
    helpGroup: 'PARTS',
  }),
  'new-guids': Flags.boolean({
    summary: 'Draw new GUIDs for the disk and its parts, for targets that are attached to the same machine as the source.',
    helpGroup: 'PARTS',
  }),
  unused: Flags.option({
    options: unusedModes,
    default: 'skip' as const,
    summary: "What becomes of the target's bytes where the source's file systems use none.",
    helpGroup: 'COPY',
  })(),
  exact: Flags.boolean({ summary: 'Copy every byte, also unused ones and those between partitions.', helpGroup: 'COPY' }),
  delta: Flags.boolean({
    summary: 'Compare with what the target holds, and write only what differs.',
    helpGroup: 'COPY',
  }),
  verify: Flags.boolean({
    default: true,
    allowNo: true,
    summary: 'Read back what was written, past the cache; done unless --no-verify is given.',
    helpGroup: 'COPY',
  }),
  'allow-inconsistent': Flags.boolean({
    summary: 'Copy a source that is in use, every byte as it happens to be.',
    helpGroup: 'COPY',
  }),
  'state-dir': Flags.string({
    summary:
      'Where to note what is durable, so that a killed run is not copied again. [default: /var/lib/doppel, or ~/.local/state/doppel when not root]',
    helpValue: 'DIR',
    helpGroup: 'COPY',
  }),
  'on-read-error': Flags.option({
    options: readErrorPolicies,
    default: 'fail' as const,
    summary: `What becomes of sectors that cannot be read: give up, or make them zeros, or leave the target's. Exit ${ExitCode.io} if there were any.`,
    helpGroup: 'FAULTS',
  })(),
  'source-map': Flags.string({
    summary: 'Map file of ddrescue for the source: what it does not call finished counts as unreadable.',
    helpValue: 'FILE',
    helpGroup: 'FAULTS',
  }),
  map: Flags.string({
    summary: 'Write what could be read and what not as a map file for ddrescue.',
    helpValue: 'FILE',
    helpGroup: 'FAULTS',
  }),
};

/** The parsed flags, as far as the request needs them. */
export interface ParsedFlags extends AccessFlags {
  readonly as: string;
  readonly profiles?: readonly string[] | undefined;
  readonly 'replace-profile': boolean;
  readonly expect?: readonly string[] | undefined;
  readonly to?: readonly string[] | undefined;
  readonly size?: string | undefined;
  readonly ssh: string;
  readonly 'remote-command': string;
  readonly only?: Parameters<typeof kindChoice>[0]['only'];
  readonly skip?: Parameters<typeof kindChoice>[0]['skip'];
  readonly kind?: readonly string[] | undefined;
  readonly 'plain-http': boolean;
  readonly grow?: readonly string[] | undefined;
  readonly 'new-guids': boolean;
  readonly unused: CopyRequest['unused'];
  readonly exact: boolean;
  readonly delta: boolean;
  readonly verify: boolean;
  readonly 'allow-inconsistent': boolean;
  readonly 'state-dir'?: string | undefined;
  readonly 'on-read-error': NonNullable<CopyRequest['readErrors']>;
  readonly 'source-map'?: string | undefined;
  readonly map?: string | undefined;
}

/** @throws UsageError */
export function copyRequest(source: string, flags: ParsedFlags): CopyRequest {
  const { 'source-map': sourceMap, map: mapFile, 'state-dir': stateDir } = flags;
  return {
    source,
    access: archiveAccess(flags),
    kinds: kindChoice(flags),
    kindOverrides: kindOverrides(flags.kind),
    unused: flags.unused,
    exact: flags.exact,
    verify: flags.verify,
    allowInconsistent: flags['allow-inconsistent'],
    delta: flags.delta,
    readErrors: flags['on-read-error'],
    ...(sourceMap === undefined ? {} : { sourceMap }),
    ...(mapFile === undefined ? {} : { mapFile }),
    stateDir: { path: stateDir ?? defaultStateDir(), required: stateDir !== undefined },
    grow: flags.grow ?? [],
    newGuids: flags['new-guids'],
  };
}

/** TARGET and every --to. @throws UsageError */
export function targetRequests(target: string | undefined, flags: ParsedFlags): TargetRequest[] {
  const { profiles, 'replace-profile': replaceProfile } = flags;
  const size = sizeOf(flags.size);
  const named = [
    ...(target === undefined ? [] : [{ target, as: flags.as }]),
    ...(flags.to ?? []).map((to) => parseTo(to, flags.as)),
  ];
  if (named.length === 0) {
    throw new UsageError('there is no target', {
      code: 'NO_TARGET',
      todo: 'Name one behind the source, or several with --to TARGET=PROFILE.yaml.',
    });
  }
  return named.map(({ target: name, as }) => ({
    target: name,
    identity: identityRequest(as, profiles, replaceProfile),
    expect: (flags.expect ?? []).map(parseExpectation),
    ...(size === undefined ? {} : { create: { size } }),
  }));
}

/** A path may have `=` in it, also an URI: what follows the last one counts only when it says who the target shall be. */
function parseTo(text: string, as: string): { readonly target: string; readonly as: string } {
  const at = text.lastIndexOf('=');
  const whom = text.slice(at + 1);
  const isIdentity = /^(target|source|none)$/.test(whom) || /\.(ya?ml|json)$/i.test(whom);
  return at > 0 && isIdentity ? { target: text.slice(0, at), as: whom } : { target: text, as };
}

function sizeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const size = parseSize(text);
  if (size !== undefined && size % 512 === 0) return size;
  throw new UsageError(`--size "${text}" is not understood`, {
    code: 'BAD_SIZE',
    todo: 'Write bytes, or a number with K, M, G or T (powers of 1024), as 8G; a multiple of 512 bytes.',
  });
}
