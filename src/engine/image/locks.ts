/** File locks, from /proc/locks; see proc(5). */
import { readFile } from 'node:fs/promises';
import { isMissing } from './sysfs.ts';

export interface FileLock {
  /** flock(2), which is of the whole file; else bytes `first` to `last` (fcntl(2)). */
  readonly wholeFile: boolean;
  readonly exclusive: boolean;
  /** -1 where the lock belongs to an open file rather than to a process. */
  readonly pid: number;
  /** Device number of the file system, `8:1`, and inode number. */
  readonly device: string;
  readonly inode: string;
  readonly first: number;
  readonly last: number;
}

const line =
  /^\d+: (?<type>FLOCK|POSIX|OFDLCK)\s+\S+\s+(?<mode>\w+)\s+(?<pid>-?\d+) (?<major>[0-9a-f]+):(?<minor>[0-9a-f]+):(?<inode>\d+) (?<first>\d+) (?<last>\w+)/;

/**
 * Locks that are held (not those waited for) by processes in this PID namespace, and by open files. The kernel stops all takers of
 * locks for that, which may take it 20 ms: not in this thread.
 */
export async function readLocks(): Promise<FileLock[]> {
  const table = await readFile('/proc/locks', 'utf8').catch((error: unknown) => {
    if (isMissing(error)) return '';
    throw error;
  });
  const locks: FileLock[] = [];
  for (const text of table.split('\n')) {
    const fields = line.exec(text)?.groups;
    if (fields === undefined) continue;
    locks.push({
      wholeFile: fields.type === 'FLOCK',
      exclusive: fields.mode === 'WRITE',
      pid: Number(fields.pid),
      device: `${Number.parseInt(fields.major ?? '', 16)}:${Number.parseInt(fields.minor ?? '', 16)}`,
      inode: fields.inode ?? '',
      first: Number(fields.first),
      last: fields.last === 'EOF' ? Number.POSITIVE_INFINITY : Number(fields.last),
    });
  }
  return locks;
}

/**
 * QEMU takes a shared lock on byte 100 + n of an image for each permission n that it has, and on byte 200 + n for each that
 * it denies others; permission 1 is writing (block/file-posix.c).
 */
const QEMU_WRITES = 101;

/** Whether this may be a virtual machine that writes to the image. */
export function qemuWrites({ wholeFile, first, last }: FileLock): boolean {
  return !wholeFile && first <= QEMU_WRITES && last >= QEMU_WRITES;
}
