/** Files and directories that chattr(1) has made immutable or append-only: the target's administrator meant its own processes, not us. */
import { constants, open } from 'node:fs/promises';
import { inodeFlags, setInodeFlags } from '../../native/inode.ts';
import { SystemCallError } from '../../native/libc.ts';

const FS_IMMUTABLE_FL = 0x10;
const FS_APPEND_FL = 0x20;
const locked = FS_IMMUTABLE_FL | FS_APPEND_FL;

/**
 * Runs `action` again without the flags when it fails with EPERM because of them. `file` gets its flags back if it still is a file
 * afterwards, `parent` always. Both are real paths without a link in the last component.
 */
export async function despiteFlags(file: string, parent: string, action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
    const before = [
      { path: parent, flags: await lift(parent) },
      { path: file, flags: await lift(file) },
    ].filter(({ flags }) => flags !== 0);
    if (before.length === 0) throw error;
    try {
      await action();
    } finally {
      for (const { path, flags } of before.reverse()) await change(path, (now) => now | flags);
    }
  }
}

/** Answers the flags that were taken away. */
async function lift(path: string): Promise<number> {
  let lifted = 0;
  await change(path, (flags) => {
    lifted = flags & locked;
    return flags & ~locked;
  });
  return lifted;
}

async function change(path: string, next: (flags: number) => number): Promise<void> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const flags = inodeFlags(file.fd);
      const wanted = next(flags);
      if (wanted !== flags) setInodeFlags(file.fd, wanted);
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Nothing there, or a link, which has no flags; or a file system without them.
    const without = error instanceof SystemCallError && ['ENOTTY', 'EOPNOTSUPP'].includes(error.errnoName);
    if (!without && code !== 'ENOENT' && code !== 'ELOOP') throw error;
  }
}
