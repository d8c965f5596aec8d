/** Writes that go on to the medium at once: in the end little is left to wait for. */
import type { FileHandle } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { SystemCallError, startWriteback } from '../native/libc.ts';

/** Bytes; what is smaller is gathered by the kernel. */
const WORTH_IT = 1 << 16;

/** All of `bytes`, to byte `offset` of the file; not yet on stable storage. */
export async function write(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
  if (bytes.length < WORTH_IT) return;
  // A hint: what the kernel makes of it is told when the file is flushed.
  await startWriteback(file.fd, offset, bytes.length).catch((error: unknown) => {
    if (!(error instanceof SystemCallError)) throw error;
  });
}

/** Writes an empty file from the front to the end. It finishes when all is on stable storage; then, and after an error, the file is closed. */
export function writtenFile(file: FileHandle): Writable {
  let length = 0;
  return new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      const offset = length;
      length += chunk.length;
      write(file, chunk, offset).then(() => done(), done);
    },
    final(done) {
      file.sync().then(() => done(), done);
    },
    destroy(error, done) {
      file.close().then(
        () => done(error),
        (failure: Error) => done(error ?? failure),
      );
    },
  });
}
