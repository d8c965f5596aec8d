/** Files with keys: read as a whole, as text. */
import { open } from 'node:fs/promises';
import { IoError, UsageError } from '../errors.ts';

/** Bytes. */
const LARGEST = 1 << 20;

/** A file is not the key that it has to be. What stands in it is never repeated. */
export class KeyFileError extends UsageError {
  constructor(message: string, todo: string, data: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super(message, { code: 'KEY_FILE', todo, data, cause });
  }
}

export class KeyFileIoError extends IoError {
  constructor(path: string, cause: unknown) {
    super(`reading ${path} failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      code: 'KEY_FILE_IO',
      todo: 'Check the path, and its permissions.',
      data: { path },
      cause,
    });
  }
}

/** @throws KeyFileError, KeyFileIoError */
export async function readKeyFile(path: string): Promise<string> {
  const bytes = Buffer.alloc(LARGEST + 1);
  let size = 0;
  try {
    const file = await open(path);
    try {
      for (let read = 1; read > 0 && size < bytes.length; size += read)
        read = (await file.read(bytes, size, bytes.length - size)).bytesRead;
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new KeyFileIoError(path, error);
  }
  if (size > LARGEST)
    throw new KeyFileError(`${path} is too large to be a file with keys`, 'Name the file with the key.', { path });
  return bytes.toString('latin1', 0, size);
}
