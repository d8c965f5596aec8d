/** Writes that go on to the medium at once: in the end little is left to wait for. */
import { fsync as sync, write as writeCallback } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { SystemCallError, startWriteback } from '../native/libc.ts';

const writeFd = promisify(writeCallback);

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

/** Writes an empty file from the front to the end. It finishes when all is on stable storage; the file stays open. */
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
  });
}

/** Milliseconds after which a pipe is tried again that takes nothing and does not let anybody wait. */
const PAUSE = 2;

/**
 * Writes to a descriptor that was inherited, be it a pipe, a file or a device, wherever it stands. Node's own stream for standard output
 * knows no devices, and takes a short write for a whole one. It finishes when all is on stable storage, where there is such.
 */
export function writtenDescriptor(fd: number): Writable {
  return new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      writeOn(fd, chunk).then(() => done(), done);
    },
    final(done) {
      sync(fd, (error) => done(error !== null && error.code !== 'EINVAL' && error.code !== 'ENOTSUP' ? error : null));
    },
  });
}

async function writeOn(fd: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += (await writeFd(fd, bytes, at, bytes.length - at, null)).bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await setTimeout(PAUSE);
    }
  }
}
