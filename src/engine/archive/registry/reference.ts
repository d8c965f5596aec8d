/** Names of archives in registries: `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`. Grammar of the OCI distribution specification 1.1. */
import { UsageError } from '../../errors.ts';

export interface Reference {
  /** As the user wrote it. */
  readonly text: string;
  /** With the port where one was given. */
  readonly host: string;
  readonly repository: string;
  readonly tag: string;
  /** Exactly this one is meant, whatever the tag names now. */
  readonly digest?: string;
}

const SCHEME = 'oci://';
const hostName = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/;
const repositoryName = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagName = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const digestText = /^sha256:[0-9a-f]{64}$/;

/** @throws UsageError that says which part is wrong */
export function parseReference(text: string): Reference {
  // Whoever writes a password into it need not see it again.
  const shown = text.replace(/(?<=^oci:\/\/)[^/@]*@/i, '...@');
  const wrong = (why: string): UsageError =>
    new UsageError(`${JSON.stringify(shown)} names no archive in a registry: ${why}`, {
      code: 'BAD_REFERENCE',
      todo: 'Write oci://HOST[:PORT]/REPOSITORY[:TAG], or oci://HOST[:PORT]/REPOSITORY@sha256:DIGEST.',
      data: { reference: shown },
    });
  const rest = text.slice(SCHEME.length);
  const slash = rest.indexOf('/');
  const host = slash < 0 ? rest : rest.slice(0, slash);
  if (host.includes('@')) throw wrong('a name has no user and no password, these come from the file that "docker login" writes');
  if (!hostName.test(host)) throw wrong(`the host ${JSON.stringify(host)} is none`);
  const [path = '', digest, ...more] = slash < 0 ? [] : rest.slice(slash + 1).split('@');
  const colon = path.lastIndexOf(':');
  const [repository, tag] = colon < 0 ? [path, 'latest'] : [path.slice(0, colon), path.slice(colon + 1)];
  if (repository === '') throw wrong('the repository is missing');
  if (repository !== repository.toLowerCase()) throw wrong('repositories are written in lower case');
  if (!repositoryName.test(repository)) throw wrong(`${JSON.stringify(repository)} is no repository`);
  if (!tagName.test(tag)) throw wrong(`${JSON.stringify(tag)} is no tag`);
  if (more.length > 0 || (digest !== undefined && !digestText.test(digest)))
    throw wrong('what follows @ is no digest, which is "sha256:" and 64 hexadecimal digits in lower case');
  return { text, host, repository, tag, ...(digest === undefined ? {} : { digest }) };
}

/** The same archive, whatever happens to its tag. */
export function pinned({ host, repository }: Reference, digest: string): string {
  return `${SCHEME}${host}/${repository}@${digest}`;
}
