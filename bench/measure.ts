/** Runs one command and measures the whole of it, children included: wall clock, CPU, bytes written, peak memory. */
import { execa } from 'execa';

export interface Measured {
  readonly seconds: number;
  /** User and system time, in seconds. */
  readonly cpu: number;
  /** Bytes that its processes gave to the kernel to be written to storage: what they dirtied in the page cache, or wrote directly. */
  readonly written: number;
  /** Bytes that they asked the kernel for, from files, devices and pipes, be it from the page cache. */
  readonly read: number;
  /** Peak resident memory of its largest process, in bytes. */
  readonly memory: number;
}

/**
 * `command` runs in bash, so that it may be a pipeline. It must end with everything on stable storage.
 * @throws when it ends with anything but 0
 */
export async function measure(command: string, folder: string): Promise<Measured> {
  // The shell that waits for a command inherits its counts (proc(5), /proc/pid/io); GNU time gives the rest.
  const script =
    '/usr/bin/time -q -f "%e %U %S %M" -o "$1" bash -euo pipefail -c "$2"; status=$?; cat /proc/$$/io > "$3"; exit $status';
  const [times, io] = [`${folder}/time`, `${folder}/io`];
  const { exitCode, all } = await execa('bash', ['-c', script, 'measure', times, command, io], {
    all: true,
    reject: false,
    env: { LC_ALL: 'C' },
  });
  if (exitCode !== 0) throw new Error(`${command}\nended with ${exitCode}:\n${all}`);
  const { readFileSync } = await import('node:fs');
  const [seconds, user, system, kib] = readFileSync(times, 'utf8').trim().split(' ').map(Number);
  const counts = new Map(
    [...readFileSync(io, 'utf8').matchAll(/^(\w+): (\d+)$/gm)].map(([, name, value]) => [name, Number(value)]),
  );
  return {
    seconds: seconds as number,
    cpu: (user as number) + (system as number),
    written: (counts.get('write_bytes') ?? 0) - (counts.get('cancelled_write_bytes') ?? 0),
    read: counts.get('rchar') ?? 0,
    memory: (kib as number) * 1024,
  };
}
