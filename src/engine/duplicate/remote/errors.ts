/** What can go wrong between two computers. */
import { ConnectionLostError, DoppelError, type ExitCode, IoError, RefusedError, UsageError } from '../../errors.ts';
import type { RemoteFailure } from './protocol.ts';

export class BadSshTargetError extends UsageError {
  constructor(text: string) {
    super(`${text} names no target behind ssh`, {
      code: 'BAD_SSH_TARGET',
      todo: 'Write ssh://HOST/dev/sda, or ssh://USER@HOST:PORT/path/of/image.img.',
      data: { target: text },
    });
  }
}

/** The other doppel refuses or fails; its error, as it said it. */
export class RemoteError extends DoppelError {
  readonly exitCode: ExitCode;

  constructor(host: string, { code, message, todo, exitCode, data }: RemoteFailure) {
    super(`${host}: ${message}`, { code, todo: `On ${host}: ${todo}`, data: { ...data, host } });
    this.exitCode = exitCode as ExitCode;
  }
}

/** There is no doppel on the other side. */
export class RemoteMissingError extends RefusedError {
  constructor(host: string, command: string, said: string) {
    super(`${host} has no program "${command}"${said === '' ? '' : `: ${said}`}`, {
      code: 'REMOTE_MISSING',
      todo: `Install doppel on ${host}, or say how it is started there: --remote-command "sudo /opt/doppel/bin/doppel".`,
      data: { host, command },
    });
  }
}

export class RemoteVersionError extends RefusedError {
  constructor(host: string, what: string) {
    super(`${host} cannot receive from this doppel: ${what}`, {
      code: 'REMOTE_VERSION',
      todo: 'Install the same release of doppel on both.',
      data: { host },
    });
  }
}

/** Something that is no doppel speaks on the other side. */
export class RemoteNoiseError extends IoError {
  constructor(host: string, line: string) {
    super(`${host} says something else than doppel does: ${JSON.stringify(line.slice(0, 200))}`, {
      code: 'REMOTE_NOISE',
      todo: `What runs when a shell starts on ${host} must print nothing: try  ssh ${host} true`,
      data: { host },
    });
  }
}

/** ssh could not get through to the other side at all. */
export class SshFailedError extends IoError {
  constructor(host: string, said: string) {
    super(`ssh does not get through to ${host}: ${said}`, {
      code: 'SSH_FAILED',
      todo: 'Try the same without doppel: ssh [-p PORT] USER@HOST true. Options for it can be given: --ssh "ssh -i KEY".',
      data: { host },
    });
  }
}

export class RemoteLostError extends ConnectionLostError {
  constructor(host: string, why: string) {
    super(`the connection to ${host} was lost: ${why}`, {
      code: 'CONNECTION_LOST',
      todo: 'Run the same command again: what has arrived is not sent again.',
      data: { host },
    });
  }
}
