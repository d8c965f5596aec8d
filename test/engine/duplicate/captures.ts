/** Captures by way of the engine. */
import type { BlobSink } from '../../../src/engine/archive/store.ts';
import { Zstd } from '../../../src/engine/archive/zstd.ts';
import { type CaptureOptions, executeCapture } from '../../../src/engine/duplicate/capture.ts';
import { type CaptureRequest, planCapture } from '../../../src/engine/duplicate/capture-plan.ts';
import type { RunOptions } from '../../../src/engine/events.ts';
import { MiB } from './small-disk.ts';

export async function capture(
  disk: string,
  sink: BlobSink,
  wishes: Partial<CaptureRequest> = {},
  options: RunOptions & Partial<Pick<CaptureOptions, 'base' | 'level' | 'recipients' | 'signer'>> = {},
) {
  const plan = await planCapture(captureRequest(disk, wishes));
  const how = { zstd: Zstd.usual(), level: 3, platform: { architecture: 'amd64', os: 'linux' }, labels: {}, ...options };
  return { plan, result: await executeCapture(plan, sink, how, options) };
}

export function captureRequest(disk: string, wishes: Partial<CaptureRequest> = {}): CaptureRequest {
  return {
    source: disk,
    kinds: {},
    kindOverrides: new Map(),
    exact: false,
    allowInconsistent: false,
    readErrors: 'fail',
    segmentSize: MiB,
    ...wishes,
  };
}
