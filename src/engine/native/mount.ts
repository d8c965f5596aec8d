/**
 * Mounts without a place: fsopen(2), fsconfig(2), fsmount(2), Linux 5.2. Nobody else sees such a mount, and it is gone when its
 * descriptor is closed, however this process ends. Numbers from asm-generic/unistd.h and linux/mount.h.
 */
import { closeSync, readSync } from 'node:fs';
import { call, SystemCallError } from './libc.ts';

/** The same on every architecture. */
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;

const CLOSE_ON_EXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOUNT_ATTR_RDONLY = 0x01;
const MOUNT_ATTR_NOSUID = 0x02;
const MOUNT_ATTR_NODEV = 0x04;
const MOUNT_ATTR_NOEXEC = 0x08;
const MOUNT_ATTR_NOATIME = 0x10;
const LONGEST_MESSAGE = 4096;

export interface DetachedMount {
  /** Block device, and the file system on it as the kernel names it. */
  readonly device: string;
  readonly type: string;
  readonly readOnly: boolean;
  /** Options of the file system, as `noload` or `errors=continue`. */
  readonly options: readonly string[];
}

/** The mount was refused; `said` is what the kernel wrote to its context, often nothing. */
export class MountError extends SystemCallError {
  readonly said: string;

  constructor(cause: SystemCallError, said: string) {
    super(cause.syscall, cause.errno);
    this.name = 'MountError';
    this.said = said;
  }
}

/** Mounts nosuid, nodev, noexec, noatime. Gives a descriptor (O_PATH) of the root directory. @throws MountError */
export async function mountDetached({ device, type, readOnly, options }: DetachedMount): Promise<number> {
  let context: number | undefined;
  try {
    context = await call('fsopen', SYS_FSOPEN, type, CLOSE_ON_EXEC);
    for (const option of [`source=${device}`, ...(readOnly ? ['ro'] : []), ...options]) {
      const equals = option.indexOf('=');
      if (equals < 0) await call('fsconfig', SYS_FSCONFIG, context, FSCONFIG_SET_FLAG, option, null, 0);
      else
        await call('fsconfig', SYS_FSCONFIG, context, FSCONFIG_SET_STRING, option.slice(0, equals), option.slice(equals + 1), 0);
    }
    await call('fsconfig', SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, null, null, 0);
    const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME;
    return await call('fsmount', SYS_FSMOUNT, context, CLOSE_ON_EXEC, attributes | (readOnly ? MOUNT_ATTR_RDONLY : 0));
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    throw new MountError(error, context === undefined ? '' : messagesOf(context));
  } finally {
    if (context !== undefined) closeSync(context);
  }
}

/** Each read gives one message: its kind (e, w or i), a blank, and its text. */
function messagesOf(context: number): string {
  const messages: string[] = [];
  const buffer = Buffer.alloc(LONGEST_MESSAGE);
  for (;;) {
    try {
      const length = readSync(context, buffer);
      messages.push(
        buffer
          .toString('utf8', 0, length)
          .replace(/^[ewi] /, '')
          .trim(),
      );
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENODATA') return messages.join('; ');
      throw error;
    }
  }
}
