/** A copy to one target, put together as a run does it. */
import type { GuardedTarget, ImageSource } from '../../../src/engine/image/contract.ts';
import { blocksOf, type Task } from '../../../src/engine/lanes/blocks.ts';
import { type CopyOptions, copyBlocks } from '../../../src/engine/lanes/copy.ts';
import type { DigestLog } from '../../../src/engine/lanes/digests.ts';
import { type CopySums, Sink, type SinkOptions } from '../../../src/engine/lanes/sink.ts';
import { SourceReader } from '../../../src/engine/lanes/source-reader.ts';

export async function copyTasks(
  source: ImageSource,
  tasks: Iterable<Task>,
  target: GuardedTarget,
  options: CopyOptions & SinkOptions = {},
): Promise<CopySums & { readonly digests: DigestLog }> {
  const sink = new Sink(target, options);
  await copyBlocks(blocksOf([tasks]), new SourceReader(source), [sink], options);
  return { ...sink.sums, digests: sink.digests };
}
