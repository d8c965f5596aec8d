/** Reads a profile: bases merged, variables substituted, role applied, everything checked. */

import { buildProfile } from './build.ts';
import { crossCheck } from './cross-checks.ts';
import { type Diagnostic, diagnostic, type Place, ProfileInvalidError, sortDiagnostics } from './diagnostic.ts';
import { child, type DocumentPath, entries, joinPath, locate, type MapNode, textOf, toPlain } from './document.ts';
import { issuesToDiagnostics } from './issues.ts';
import { type ProfileText, readLayers } from './layers.ts';
import { merge, settle } from './merge.ts';
import type { ResolvedProfile } from './model.ts';
import { profileSchema, roleKeys } from './schema.ts';
import { shippedProfiles } from './search.ts';
import { readSecrets } from './secrets.ts';
import { substituteVariables } from './variables.ts';

export type { ProfileText } from './layers.ts';

export interface LoadOptions {
  /** Directories to find bases in, before /etc/doppel/profiles and the shipped ones. */
  readonly searchPath?: readonly string[];
  /** Directory of the shipped profiles. */
  readonly shipped?: string;
  /** `skip`: the secret files are not looked at (they may exist only where the profile is written). Default `check`. */
  readonly secrets?: 'check' | 'skip';
}

/** What a bundle is made of. */
export type ProfileContent = Pick<LoadedProfile, 'resolved' | 'source' | 'readSecrets'>;

export interface LoadedProfile {
  readonly resolved: ResolvedProfile;
  /** The profile itself, as written. */
  readonly source: ProfileText;
  /** The profile, then every base that it extends. */
  readonly files: readonly string[];
  /** Reads the secrets that the profile refers to, by name. @throws ProfileInvalidError (E017, E023) */
  readSecrets(): Promise<Readonly<Record<string, string>>>;
  /**
   * Where a value of the document stands, as `['services', 'enable', 0]`, after merging and with the role applied. What was not
   * written answers with the nearest mapping that would hold it.
   */
  locate(path: DocumentPath): Place;
}

/** @throws ProfileInvalidError with all diagnostics; ProfileError when the file cannot be read */
export async function loadProfile(profile: string | ProfileText, options: LoadOptions = {}): Promise<LoadedProfile> {
  const { loaded, diagnostics } = await examine(profile, options, false);
  if (loaded === undefined) throw new ProfileInvalidError(diagnostics);
  return loaded;
}

/**
 * All diagnostics of a profile, none when it is good. With `base` it is checked as one that others extend: it needs no host,
 * variables may be left to the profile that extends it, and every role is checked, not only the chosen one.
 * @throws ProfileError when the file cannot be read
 */
export async function checkProfile(
  profile: string | ProfileText,
  options: LoadOptions & { readonly base?: boolean } = {},
): Promise<readonly Diagnostic[]> {
  return (await examine(profile, options, options.base ?? false)).diagnostics;
}

interface Examined {
  readonly loaded?: LoadedProfile;
  readonly diagnostics: readonly Diagnostic[];
}

async function examine(profile: string | ProfileText, options: LoadOptions, base: boolean): Promise<Examined> {
  const layers = await readLayers(profile, options.searchPath ?? [], options.shipped ?? shippedProfiles());
  const found = [...layers.diagnostics];
  const report = (d: Diagnostic) => {
    if (!(base && d.code === 'E011')) found.push(d);
  };
  const finish = (): Examined => ({ diagnostics: sortDiagnostics(found, layers.files) });
  if (layers.root === undefined) return finish();

  const written = substituteVariables(layers.root, report);
  const whole = settle(written, report);
  found.push(...validate(whole));
  if (child(whole, 'host') === undefined && !base) {
    found.push(diagnostic('E031', 'this key is required: the name of this machine, as host: web-07', 'host', whole.place));
  }
  const role = chosenRole(whole, report);
  const effective = applyRole(whole, written, role);
  found.push(...crossCheck(effective));
  for (const [name] of base ? entries(child(whole, 'roles')) : []) found.push(...crossCheck(applyRole(whole, written, name)));
  if (options.secrets !== 'skip') found.push(...(await readSecrets(effective)).diagnostics);
  if (found.length > 0 || base) return finish();

  // Every part was valid by itself; the merged whole is parsed once more to get its data.
  const parsed = profileSchema.safeParse(toPlain(effective));
  if (!parsed.success) {
    found.push(...issuesToDiagnostics(effective, parsed.error.issues));
    return finish();
  }
  const resolved = buildProfile(parsed.data, parsed.data.host as string);
  return { diagnostics: [], loaded: makeLoaded(resolved, effective, layers.source, layers.files) };
}

/** The schema's findings, without the keys that are checked in every file of its own (layers.ts). */
function validate(root: MapNode): Diagnostic[] {
  const result = profileSchema.safeParse(toPlain(root));
  const issues = result.error?.issues ?? [];
  return issuesToDiagnostics(
    root,
    issues.filter((issue) => issue.path[0] !== 'apiVersion' && issue.path[0] !== 'extends'),
  );
}

function chosenRole(root: MapNode, report: (d: Diagnostic) => void): string | undefined {
  const node = child(root, 'role');
  const role = textOf(node);
  if (node === undefined || role === undefined) return undefined;
  const defined = entries(child(root, 'roles')).map(([name]) => name);
  if (defined.includes(role)) return role;
  const names = defined.length > 0 ? `defined are ${defined.join(', ')}` : 'no roles are defined';
  report(diagnostic('E012', `the role "${role}" is not defined under roles; ${names}`, node.place.path, node.place));
  return undefined;
}

/** `written` still has its `key+`, which in a role append to the profile's own lists. */
function applyRole(whole: MapNode, written: MapNode, role: string | undefined): MapNode {
  const settings = role === undefined ? undefined : child(written, 'roles', role);
  if (settings?.kind !== 'map') return whole;
  const allowed = [...settings.entries].filter(([key]) => roleKeys.includes(key.replace(/\+$/, '')));
  const merged = merge(whole, { ...settings, entries: new Map(allowed) });
  return settle({ ...merged, place: whole.place }, () => {});
}

function makeLoaded(resolved: ResolvedProfile, effective: MapNode, source: ProfileText, files: readonly string[]): LoadedProfile {
  return {
    resolved,
    source,
    files,
    async readSecrets() {
      const { secrets, diagnostics } = await readSecrets(effective);
      if (diagnostics.length > 0) throw new ProfileInvalidError(diagnostics);
      return secrets;
    },
    locate(path) {
      const { node, rest } = locate(effective, path);
      return { ...node.place, path: rest.reduce<string>(joinPath, node.place.path) };
    },
  };
}
