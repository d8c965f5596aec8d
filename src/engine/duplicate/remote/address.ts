/** How a target on another computer is named. */
import { BadSshTargetError } from './errors.ts';

/** `ssh://[USER@]HOST[:PORT]/PATH` */
export interface SshTarget {
  /** As the user wrote it. */
  readonly text: string;
  readonly host: string;
  readonly user?: string;
  readonly port?: number;
  /** On that host. */
  readonly path: string;
}

export const isSshTarget = (text: string): boolean => /^ssh:\/\//i.test(text);

/** @throws BadSshTargetError */
export function parseSshTarget(text: string): SshTarget {
  const [, user, bracketed, plain, port, path] =
    /^ssh:\/\/(?:([^@/\s]+)@)?(?:\[([0-9a-f:.%\w]+)\]|([^:/@\s[\]]+))(?::(\d{1,5}))?(\/.+)$/i.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || path === undefined || host.startsWith('-') || user?.startsWith('-') || Number(port ?? 1) > 65_535)
    throw new BadSshTargetError(text);
  return { text, host, path, ...(user === undefined ? {} : { user }), ...(port === undefined ? {} : { port: Number(port) }) };
}
