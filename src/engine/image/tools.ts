/** The system tools that images are opened with: where they are, and which package has one that is missing. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { IoError, MissingToolError } from '../errors.ts';
import { isMissing } from './sysfs.ts';

/** Debian and RPM packages. */
const packages = {
  'qemu-img': ['qemu-utils', 'qemu-img'],
  'qemu-nbd': ['qemu-utils', 'qemu-img'],
  nbdfuse: ['libnbd-bin', 'nbdfuse'],
  setpriv: ['util-linux', 'util-linux'],
  umount: ['mount', 'util-linux-core'],
} as const satisfies Readonly<Record<string, readonly [string, string]>>;
export type ToolName = keyof typeof packages;

/** Absolute path of a tool. @throws MissingToolError */
export async function findTool(tool: ToolName): Promise<string> {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  for (const folder of folders.filter((each) => each.startsWith('/'))) {
    const path = join(folder, tool);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch (error) {
      if (!isMissing(error) && (error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    }
  }
  const [debian, rpm] = packages[tool];
  throw new MissingToolError(tool, debian, rpm);
}

/** A tool that images are opened with failed. */
export class ImageToolError extends IoError {
  /** What the tool said, or how it ended. */
  readonly reason: string;

  constructor(tool: string, doing: string, reason: string, cause?: unknown) {
    super(`${doing} failed: ${tool}: ${reason}`, {
      code: 'IMAGE_TOOL_FAILED',
      todo: 'The reason is what the tool itself says.',
      data: { tool, reason },
      cause,
    });
    this.reason = reason;
  }
}

/** What the tool wrote to its standard output, at most 4 MiB. @throws MissingToolError, ImageToolError */
export async function runTool(tool: ToolName, args: readonly string[], doing: string): Promise<string> {
  const path = await findTool(tool);
  const { execa } = await import('execa');
  const result = await execa(path, args, { reject: false, stdin: 'ignore', env: { LC_ALL: 'C.UTF-8' }, maxBuffer: 4 << 20 });
  if (!result.failed) return result.stdout;
  const said = result.stderr.trim().replace(new RegExp(`^${tool}: `), '');
  throw new ImageToolError(tool, doing, said === '' ? (result.shortMessage ?? 'it could not be run') : said, result.cause);
}
