/** Runs a system tool; what fails is a typed error with the tool's own message. */
import { createHash } from 'node:crypto';
import { MissingToolError } from '../../errors.ts';
import { ToolFailedError } from '../errors.ts';

/** Debian and RPM packages of the tools that the persona uses. */
const packages: Readonly<Record<string, readonly [string, string]>> = {
  mdir: ['mtools', 'mtools'],
  mcopy: ['mtools', 'mtools'],
  mtype: ['mtools', 'mtools'],
  mmd: ['mtools', 'mtools'],
  mrd: ['mtools', 'mtools'],
  mdel: ['mtools', 'mtools'],
};

export interface ToolOptions {
  readonly input?: Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Largest output, bytes. */
  readonly maxBuffer?: number;
}

export function missingTool(tool: string): MissingToolError {
  const [debian, rpm] = packages[tool] ?? [tool, tool];
  return new MissingToolError(tool, debian, rpm);
}

/**
 * @returns what the tool wrote to its standard output.
 * @throws MissingToolError, ToolFailedError
 */
export async function runTool(tool: string, args: readonly string[], options: ToolOptions = {}): Promise<Uint8Array> {
  const { execa } = await import('execa');
  const result = await execa(tool, args, {
    reject: false,
    encoding: 'buffer',
    stripFinalNewline: false,
    env: { LC_ALL: 'C.UTF-8', ...options.env },
    // No terminal and no standard input of ours: mtools would ask.
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    maxBuffer: options.maxBuffer ?? 1024 * 1024,
  });
  if (result.code === 'ENOENT') throw missingTool(tool);
  if (result.failed) {
    const status = result.signal ?? (result.exitCode === undefined ? (result.code ?? 'not started') : `exit ${result.exitCode}`);
    throw new ToolFailedError(
      tool,
      args,
      result.isMaxBuffer ? 'too much output' : status,
      Buffer.from(result.stderr).toString('utf8'),
      result.cause,
    );
  }
  return result.stdout;
}

/**
 * @returns the SHA-256 (hex) of what the tool wrote to its standard output, however much it was.
 * @throws MissingToolError, ToolFailedError
 */
export async function hashOutput(tool: string, args: readonly string[], options: Pick<ToolOptions, 'env'> = {}): Promise<string> {
  const { execa } = await import('execa');
  const child = execa(tool, args, {
    reject: false,
    encoding: 'buffer',
    env: { LC_ALL: 'C.UTF-8', ...options.env },
    stdin: 'ignore',
    buffer: { stdout: false, stderr: true },
  });
  const hash = createHash('sha256');
  for await (const chunk of child.iterable({ from: 'stdout', binary: true })) hash.update(chunk);
  const result = await child;
  if (result.code === 'ENOENT') throw missingTool(tool);
  if (result.failed) {
    const status = result.signal ?? (result.exitCode === undefined ? (result.code ?? 'not started') : `exit ${result.exitCode}`);
    throw new ToolFailedError(tool, args, status, Buffer.from(result.stderr as Uint8Array).toString('utf8'), result.cause);
  }
  return hash.digest('hex');
}
