/**
 * File systems of the source that were not cleanly unmounted, as a clone leaves them on its target: with their journals replayed. That
 * happens in overlays, the source stays as it is.
 */
import { DoppelError } from '../errors.ts';
import type { Window } from '../image/contract.ts';
import { openScratch } from '../image/scratch.ts';
import type { Disk, Part } from './disk.ts';
import { isUnclean, replayJournals } from './replay.ts';
import type { OpenWindow } from './system.ts';

export interface Replayed {
  /** By part number: opens the part as it is after the replay. */
  readonly windows: ReadonlyMap<number, OpenWindow>;
  /** By part number: why a journal could not be replayed; a clause. */
  readonly reasons: ReadonlyMap<number, string>;
  close(): Promise<void>;
}

/** `copied` with their numbers on the target. Where the target's is unclean too, nothing was replayed. Needs root. */
export async function replayBeside(source: string, copied: readonly Part[], target: Disk): Promise<Replayed> {
  const windows = new Map<number, OpenWindow>();
  const reasons = new Map<number, string>();
  const open: Window[] = [];
  const close = async (): Promise<void> => {
    for (const window of open.reverse()) await window.close();
  };
  const clean = (part: Part): boolean =>
    target.parts.some(({ number, fs }) => number === part.number && fs?.type === part.fs?.type && fs?.state === 'clean');
  try {
    for (const part of copied.filter((each) => isUnclean(each) && clean(each))) {
      try {
        const window = await openScratch(source, part.range);
        open.push(window);
        // Closed at the end, however often it is opened.
        const openWindow: OpenWindow = async () => ({ device: window.device, close: async () => {} });
        await replayJournals([{ ...part, openWindow }]);
        windows.set(part.number, openWindow);
      } catch (error) {
        if (!(error instanceof DoppelError)) throw error;
        reasons.set(part.number, error.message);
      }
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { windows, reasons, close };
}
