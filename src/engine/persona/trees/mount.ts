/** One file system of a disk, mounted where nobody else sees it, and gone with doppel, however it ends. */
import { close } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { syncFileSystem } from '../../native/libc.ts';
import { MountError, mountDetached } from '../../native/mount.ts';
import { MountFailedError, TargetFileError, UnsupportedFileSystemError } from '../errors.ts';

export interface MountRequest {
  /** Block device that holds exactly the file system: a loop window, never a whole disk. */
  readonly device: string;
  /** As blkid names it. */
  readonly type: string;
  readonly readOnly: boolean;
}

/** What the file system itself says (tune2fs -e) is meant for its own machine: this one does not panic because of it. */
const careful = 'errors=remount-ro';

/** Options besides those that every mount has. */
const optionsByType: Readonly<Record<string, { readonly readOnly: readonly string[]; readonly readWrite: readonly string[] }>> = {
  ext2: { readOnly: [careful], readWrite: [careful] },
  // Without replaying the journal, which would write.
  ext3: { readOnly: ['noload', careful], readWrite: [careful] },
  ext4: { readOnly: ['noload', careful], readWrite: [careful] },
  // The source, with the same UUID, may be mounted on this host.
  xfs: { readOnly: ['norecovery', 'nouuid'], readWrite: ['nouuid'] },
  btrfs: { readOnly: [], readWrite: [] },
};

/** Milliseconds in which somebody who is only asking who uses a device (by opening it exclusively) has let go of it. */
const PATIENCE = 3000;

export class Mount {
  /** Its root directory, for this process only; links below it lead anywhere, so that who walks there follows none. */
  readonly path: string;
  readonly #fd: number;
  /** Its root, opened before anything is written: from then on it knows what could not be written back. */
  #root: FileHandle | undefined;
  #closing: Promise<void> | undefined;

  private constructor(fd: number) {
    this.path = `/proc/self/fd/${fd}`;
    this.#fd = fd;
  }

  /** Must run as root. @throws UnsupportedFileSystemError, MountFailedError */
  static async open({ device, type, readOnly }: MountRequest): Promise<Mount> {
    const options = Object.hasOwn(optionsByType, type) ? optionsByType[type] : undefined;
    if (options === undefined)
      throw new UnsupportedFileSystemError(type, device, 'only ext2, ext3, ext4, XFS and btrfs are supported');
    if (type.startsWith('ext') && (await hasForeignJournal(device)))
      throw new UnsupportedFileSystemError(type, device, 'its journal is on another device, which would be written to');
    try {
      const fd = await patiently(() =>
        mountDetached({ device, type, readOnly, options: readOnly ? options.readOnly : options.readWrite }),
      );
      const mount = new Mount(fd);
      if (!readOnly) await mount.#watch();
      return mount;
    } catch (error) {
      if (!(error instanceof MountError)) throw error;
      const { said, errnoName } = error;
      throw new MountFailedError(device, type, said === '' ? errnoName : `${said} (${errnoName})`, error);
    }
  }

  async #watch(): Promise<void> {
    try {
      this.#root = await open(`${this.path}/`);
    } catch (error) {
      await this.close();
      throw new TargetFileError('opening', '/', error);
    }
  }

  /** Flushes and unmounts. Idempotent. @throws TargetFileError when something could not be written back */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      // Unmounting does not tell what could not be written back.
      if (this.#root !== undefined) await syncFileSystem(this.#root.fd);
    } catch (error) {
      throw new TargetFileError('flushing', '/', error);
    } finally {
      await this.#root?.close();
      await promisify(close)(this.#fd);
    }
  }
}

async function patiently(mount: () => Promise<number>): Promise<number> {
  const begun = performance.now();
  for (;;) {
    try {
      return await mount();
    } catch (error) {
      const busy = error instanceof MountError && error.errnoName === 'EBUSY';
      if (!busy || performance.now() - begun > PATIENCE) throw error;
      await setTimeout(50);
    }
  }
}

/** The kernel finds such a journal by the number in the superblock: that of the source's own machine. Fields as in fs/ext4/ext4.h. */
async function hasForeignJournal(device: string): Promise<boolean> {
  const superblock = Buffer.alloc(1024);
  const file = await open(device);
  try {
    await file.read(superblock, 0, superblock.length, 1024);
  } finally {
    await file.close();
  }
  const hasJournal = superblock.readUInt16LE(0x38) === 0xef53 && (superblock.readUInt32LE(0x5c) & 4) !== 0;
  return hasJournal && (superblock.readUInt32LE(0xe4) !== 0 || superblock.readUInt32LE(0xe0) === 0);
}
