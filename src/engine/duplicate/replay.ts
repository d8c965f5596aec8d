/** Replays the journals of copied file systems that were not cleanly unmounted, as the first boot would. */
import { kindOf } from '../layout/kinds.ts';
import { Mount } from '../persona/trees/mount.ts';
import { mountable, type SystemPart } from './system.ts';

/** Whether reading files of the part without writing may fail, because some are only in its journal. */
export function isUnclean({ fs }: Pick<SystemPart, 'fs'>): boolean {
  return fs !== undefined && fs.state === 'unclean' && mountable.has(fs.type);
}

/** Whether the part's type says that it belongs to the system. */
export function isSystemPart({ entry, fs }: Pick<SystemPart, 'entry' | 'fs'>): boolean {
  return entry !== undefined && kindOf({ entry, fs }) === 'os';
}

/** @throws MountFailedError when a file system cannot be mounted */
export async function replayJournals(parts: readonly SystemPart[]): Promise<void> {
  for (const part of parts) {
    const window = await part.openWindow(part.range, { readOnly: false });
    try {
      const mount = await Mount.open({ device: window.device, type: part.fs?.type ?? '', readOnly: false });
      await mount.close();
    } finally {
      await window.close();
    }
  }
}
