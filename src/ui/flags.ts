/** Flags and arguments that several commands share. */
import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import type { ArchiveAccess } from '../engine/archive/access.ts';
import type { IdentityRequest } from '../engine/duplicate/identity.ts';
import { UsageError } from '../engine/errors.ts';
import { type PartKind, partKinds } from '../engine/layout/contract.ts';

export const sourceArgument = Args.string({
  required: true,
  ignoreStdin: true,
  description: 'Block device, disk image, NBD server, archive, or a part of one: what is copied.',
});
export const targetArgument = Args.string({
  required: true,
  ignoreStdin: true,
  description: 'Block device, disk image, NBD server, or a part of one: what has the profile.',
});

export const profilesFlag = Flags.string({
  multiple: true,
  multipleNonGreedy: true,
  summary: 'Directory to find the bases of profiles in.',
  helpValue: 'DIR',
});

export const asFlag = Flags.string({
  default: 'target',
  summary: 'Whose identity the target gets: target, source, none, or a profile FILE.yaml.',
  helpValue: 'target|source|FILE|none',
});

/** For commands that open archives. */
export const accessFlags = {
  identity: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'File with the key (an identity of age) that opens an encrypted archive.',
    helpValue: 'FILE',
    helpGroup: 'ARCHIVE',
  }),
  'plain-http': Flags.boolean({
    summary: 'Talk to registries (oci://) without TLS: passwords and data go in the clear.',
    helpGroup: 'ARCHIVE',
  }),
  'require-signed': Flags.boolean({
    summary: 'Refuse an archive that nobody has signed whose key is trusted.',
    helpGroup: 'ARCHIVE',
  }),
  trust: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'Public key (PEM, ed25519) of who may sign, or a folder of them. [default: /etc/doppel/trusted-keys]',
    helpValue: 'FILE|DIR',
    helpGroup: 'ARCHIVE',
  }),
};

export interface AccessFlags {
  readonly identity?: readonly string[] | undefined;
  readonly 'plain-http': boolean;
  readonly 'require-signed': boolean;
  readonly trust?: readonly string[] | undefined;
}

/** Paths are whole: other processes open the archive, too. */
export function archiveAccess({ identity, trust, ...flags }: AccessFlags): ArchiveAccess {
  return {
    ...(identity === undefined ? {} : { identities: identity.map((path) => resolve(path)) }),
    ...(trust === undefined ? {} : { trust: trust.map((path) => resolve(path)) }),
    plainHttp: flags['plain-http'],
    requireSigned: flags['require-signed'],
  };
}

/** A source's own profile is never copied. */
const copiedKinds = partKinds.filter((kind) => kind !== 'profile');

export const kindFlags = {
  only: Flags.option({
    options: copiedKinds,
    multiple: true,
    multipleNonGreedy: true,
    summary: 'Copy only parts of this kind; the target keeps its parts of all others.',
    helpGroup: 'PARTS',
  })(),
  skip: Flags.option({
    options: copiedKinds,
    multiple: true,
    multipleNonGreedy: true,
    summary: 'Do not copy parts of this kind; the target keeps its own.',
    helpGroup: 'PARTS',
  })(),
  kind: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'Kind of a part of the source, by its number, over what was found.',
    helpValue: 'PART=KIND',
    helpGroup: 'PARTS',
  }),
};

/** A word that is none of the choices names a file. */
export function identityRequest(as: string, profiles: readonly string[] | undefined, replaceProfile: boolean): IdentityRequest {
  const common = { profiles: profiles ?? [], replaceProfile };
  if (as === 'target' || as === 'source' || as === 'none') return { ...common, choice: as };
  return { ...common, choice: 'file', file: as };
}

/** @throws UsageError for anything but NUMBER=KIND */
export function kindOverrides(texts: readonly string[] | undefined): ReadonlyMap<number, PartKind> {
  return new Map(
    (texts ?? []).map((text): [number, PartKind] => {
      const [number, name] = text.split('=');
      const kind = copiedKinds.find((known) => known === name);
      if (number === undefined || !/^\d+$/.test(number) || kind === undefined) {
        throw new UsageError(`--kind "${text}" is not understood`, {
          code: 'BAD_KIND',
          todo: `Write PART=KIND, as 3=application. Kinds: ${copiedKinds.join(', ')}.`,
        });
      }
      return [Number(number), kind];
    }),
  );
}

export function kindChoice(flags: {
  readonly only?: readonly PartKind[] | undefined;
  readonly skip?: readonly PartKind[] | undefined;
}): {
  readonly only?: readonly PartKind[];
  readonly skip?: readonly PartKind[];
} {
  return { ...(flags.only === undefined ? {} : { only: flags.only }), ...(flags.skip === undefined ? {} : { skip: flags.skip }) };
}
