/** What people should know before they say yes, each a sentence. Pure. */
import type { ImageUser } from '../image/users.ts';
import type { ReadErrorPolicy } from '../lanes/source-reader.ts';
import type { Contents } from './contents.ts';
import type { Disk } from './disk.ts';
import type { ClonePlan } from './plan.ts';
import type { Layout } from './plan-layout.ts';
import type { SeenPersona } from './plan-persona.ts';
import type { RewritePreview } from './rewrite-ids.ts';
import type { StoredProfile } from './stored-profile.ts';
import { bootSectorWarnings } from './table-loss.ts';

export interface RemarkFacts {
  readonly writers: readonly ImageUser[];
  readonly sourceDisk: Disk;
  readonly targetDisk: Disk;
  /** Of the two images: how they were opened. */
  readonly imageNotes: { readonly source: readonly string[]; readonly target: readonly string[] };
  readonly stored: StoredProfile | undefined;
  /** Why the target's profile, which is replaced, cannot be read. */
  readonly damage: string | undefined;
  readonly layout: Layout;
  readonly contents: ReadonlyMap<number, Contents>;
  readonly persona: SeenPersona | undefined;
  readonly rewrite: Pick<RewritePreview, 'notes' | 'warnings'>;
  /** Bytes that an earlier run has made durable. */
  readonly durable: number;
  /** Bytes to copy that a map file says to be lost. */
  readonly lost: number;
  /** Bytes to copy that were lost when the archive was captured. */
  readonly lostBefore: number;
  readonly readErrors: ReadErrorPolicy;
}

export function remarksOf(facts: RemarkFacts): Pick<ClonePlan, 'notes' | 'warnings'> {
  const { writers, sourceDisk, targetDisk, imageNotes, stored, damage, layout, contents, persona, durable, lost } = facts;
  const whole = layout.copied.filter((part) => part.fs !== undefined && contents.get(part.number)?.whole === true);
  return {
    notes: [
      ...[...imageNotes.source, ...sourceDisk.notes].map((note) => `source: ${note}`),
      ...[...imageNotes.target, ...targetDisk.notes].map((note) => `target: ${note}`),
      ...layout.notes,
      ...facts.rewrite.notes,
      ...whole.map((part) => `${part.label} is copied whole: ${contents.get(part.number)?.how}`),
      ...(durable === 0 ? [] : [`an earlier run was stopped: up to ${durable} bytes of it are durable and not copied again`]),
    ],
    warnings: [
      ...writers.map(({ what }) => `the source is in use and may change while it is copied: ${what}`),
      ...(stored?.problems ?? []).map((problem) => `the target's profile was read, but ${problem}`),
      ...(damage === undefined ? [] : [`the target's profile is replaced without having been read: ${damage}`]),
      ...(lost === 0
        ? []
        : [`${lost} bytes of what is copied are lost: the map file of the source says that they could not be read`]),
      ...(facts.lostBefore === 0
        ? []
        : [`${facts.lostBefore} bytes of what is copied could not be read when the archive was captured, and are zeros in it`]),
      ...bootSectorWarnings(sourceDisk, targetDisk, facts.readErrors),
      ...layout.warnings,
      ...facts.rewrite.warnings,
      ...missingMounts(sourceDisk, layout),
      ...(persona?.warnings ?? []),
    ],
  };
}

/** Parts that the copied system mounts and that the target will not have. */
function missingMounts(source: Disk, { copied, kept }: Layout): string[] {
  if (!copied.some(({ mountPoint }) => mountPoint === '/')) return [];
  return source.parts
    .filter((part) => part.mountPoint !== undefined && part.kind !== 'profile')
    .filter((part) => !copied.some(({ range }) => range.offset === part.range.offset))
    .filter((part) => !kept.some(({ kind, mountPoint }) => kind === part.kind || mountPoint === part.mountPoint))
    .map(
      (part) =>
        `${part.label} is not copied, and the target has none of its kind (${part.kind}): the system will miss ${part.mountPoint}`,
    );
}
