/** One file system of a disk, mounted where nobody else sees it, and gone with doppel, however it ends. */
import { close } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
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

/** Options besides those that every mount has. */
const flagsByType: Readonly<Record<string, { readonly readOnly: readonly string[]; readonly readWrite: readonly string[] }>> = {
  ext2: { readOnly: [], readWrite: [] },
  // Without replaying the journal, which would write.
  ext3: { readOnly: ['noload'], readWrite: [] },
  ext4: { readOnly: ['noload'], readWrite: [] },
  // The source, with the same UUID, may be mounted on this host.
  xfs: { readOnly: ['norecovery', 'nouuid'], readWrite: ['nouuid'] },
  btrfs: { readOnly: [], readWrite: [] },
};

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
    const flags = Object.hasOwn(flagsByType, type) ? flagsByType[type] : undefined;
    if (flags === undefined)
      throw new UnsupportedFileSystemError(type, device, 'only ext2, ext3, ext4, XFS and btrfs are supported');
    try {
      const fd = await mountDetached({ device, type, readOnly, flags: readOnly ? flags.readOnly : flags.readWrite });
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
