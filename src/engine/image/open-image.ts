/** An image that was opened as a source or a target, whatever it is kept in: a file, a device, a container format, a server. */
import type { ImageSource, ImageTarget } from './contract.ts';

export type OpenMode = 'read' | 'write';

export interface OpenImage extends ImageTarget {
  /** What a careful person should know about it, each a sentence. */
  readonly notes: readonly string[];
  /**
   * Takes the advisory lock that keeps a second doppel away. Readers share it. False when somebody else has it for longer
   * than a moment. Where nothing can be locked (a server) it does nothing.
   * @throws ImageIoError where the file system has no locks
   */
  lock(mode?: 'exclusive' | 'shared'): Promise<boolean>;
  /** Asks the kernel to read the partition table again; only where there is a kernel to ask. False when a partition is in use. */
  rereadTable?(): Promise<boolean>;
}

/** What a source needs to be able to do. */
export type SourceImage = ImageSource & Pick<OpenImage, 'notes' | 'readBack' | 'openWindow'>;
