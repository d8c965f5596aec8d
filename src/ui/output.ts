/** Standard output, which may be a file on a full disk. */
import { IoError } from '../engine/errors.ts';

/** @throws IoError when the place that it goes to takes no more */
export function writeOutput(text: string): void {
  try {
    process.stdout.write(text);
  } catch (cause) {
    throw outputFailed(cause as Error);
  }
}

export function outputFailed(cause: Error): IoError {
  return new IoError(`cannot write the result to standard output: ${cause.message}`, {
    code: 'OUTPUT',
    todo: 'Check the place that the output goes to, as the free space of its file system.',
    cause,
  });
}
