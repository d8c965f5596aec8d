/** A server that does not answer. */
import { ConnectionLostError } from '../errors.ts';

/** Nothing came from the server, as if the network were gone, or somebody else had its only place. */
export class NbdSilentError extends ConnectionLostError {
  /** `patience` in milliseconds. */
  constructor(image: string, patience: number) {
    super(`${image} does not answer: nothing came within ${patience / 1000} seconds`, {
      code: 'NBD_SILENT',
      todo: `Check that this is an NBD server and can be reached. If it takes few clients at a time, another may have the place: ${MORE}`,
      data: { image, patience },
    });
  }
}

/** The server talks to us already, but to no further connection of ours. */
export class NbdFewClientsError extends ConnectionLostError {
  /** `patience` in milliseconds. */
  constructor(image: string, patience: number) {
    const waited = `nothing came within ${patience / 1000} seconds`;
    super(`${image} takes no further client, which is needed to open the file systems on it: ${waited}`, {
      code: 'NBD_FEW_CLIENTS',
      todo: `The server takes one client, or few, at a time; let it take more: ${MORE}`,
      data: { image, patience },
    });
  }
}

const MORE = 'qemu-nbd takes one unless it is started with --shared=8 (-e 8).';
