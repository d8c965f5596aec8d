/** What can go wrong with a registry. */
import { ConnectionLostError, IoError, UsageError } from '../../errors.ts';
import type { Reference } from './reference.ts';

/** Nobody is at that address. Nothing was begun. */
export class RegistryUnreachableError extends IoError {
  constructor(archive: string, cause: Error) {
    super(`${archive} cannot be reached: ${cause.message}`, {
      code: 'REGISTRY_UNREACHABLE',
      todo: 'Check the address, that its registry runs, and that it can be reached.',
      data: { archive },
      cause,
    });
  }
}

/** It answered before and does not any more, or is not ready for us; several tries did not help. */
export class RegistryLostError extends ConnectionLostError {
  constructor(archive: string, cause: Error) {
    super(`the connection to ${archive} was lost: ${cause.message}`, {
      code: 'REGISTRY_LOST',
      todo: 'Check the registry and the network, then run the same command again.',
      data: { archive },
      cause,
    });
  }
}

export class RegistryTlsError extends IoError {
  constructor(archive: string, why: string, todo: string, cause?: unknown) {
    super(`${archive} cannot be reached safely: ${why}`, { code: 'REGISTRY_TLS', todo, data: { archive, why }, cause });
  }
}

/** `login` is where one was found; `looked` where none was. */
export class RegistryAccessError extends IoError {
  constructor(
    archive: string,
    host: string,
    said: string,
    { login, looked }: { readonly login: string | undefined; readonly looked: readonly string[] },
  ) {
    super(`${host} refuses access to ${archive}: ${said}`, {
      code: 'REGISTRY_ACCESS',
      todo:
        login === undefined
          ? `No login for ${host} was found in ${looked.join(', ')}: run "docker login ${host}", "podman login ${host}" or "skopeo login ${host}".`
          : `The login is the one from ${login}. Check what it may do, or log in again: docker login ${host}, podman login ${host}.`,
      data: { archive, host, said, ...(login === undefined ? { looked } : { login }) },
    });
  }
}

/** Neither the archive nor anything else is under that name. */
export class RegistryNotFoundError extends IoError {
  constructor({ text: archive, host, repository }: Reference, said: string) {
    super(`${archive} was not found: ${host} says "${said}"`, {
      code: 'ARCHIVE_NOT_FOUND',
      todo: `Check repository and tag: "skopeo list-tags docker://${host}/${repository}" lists the tags that there are.`,
      data: { archive, host },
    });
  }
}

/** An answer that does not belong to what was asked. */
export class RegistryAnswerError extends IoError {
  readonly status: number;

  constructor(archive: string, method: string, path: string, status: number, said: string) {
    super(`${archive}: the registry answered ${method} ${path} with ${status}: ${said}`, {
      code: 'REGISTRY_ANSWER',
      todo: todos[status] ?? 'The reason is what the registry itself says.',
      data: { archive, method, path, status, said },
    });
    this.status = status;
  }
}

const todos: Readonly<Record<number, string>> = {
  405: 'This registry cannot be written to.',
  413: 'A proxy in front of the registry limits what may be sent at once (nginx: client_max_body_size 0). Raise that, or use a smaller --segment-size.',
  507: 'Make space on the registry.',
};

/** A digest names something that is there already. */
export class PinnedDestinationError extends UsageError {
  constructor(archive: string) {
    super(`${archive} is a digest, and what a new archive will have is not known yet`, {
      code: 'DESTINATION_PINNED',
      todo: 'Name a tag: oci://HOST/REPOSITORY:TAG.',
      data: { archive },
    });
  }
}

/** A file with logins, or a program that keeps them, cannot be used. */
export class LoginError extends IoError {
  constructor(place: string, why: string, todo: string, cause?: unknown) {
    super(`${place} ${why}`, { code: 'REGISTRY_LOGIN', todo, data: { place, why }, cause });
  }
}
