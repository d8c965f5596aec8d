/** What is made of something that not everybody may read is not for everybody either. */
import { statSync } from 'node:fs';

const OTHERS = 0o077;
const READ_BY_OTHERS = 0o004;

/** From here on new files are for their owner only, unless everybody may read `source`. What is no file says nothing. */
export function keepPrivate(source: string): void {
  const path = source.replace(/#[^/#]*$/, '');
  const mode = [source, path].map((each) => statSync(each, { throwIfNoEntry: false })?.mode).find((each) => each !== undefined);
  if (mode !== undefined && (mode & READ_BY_OTHERS) === 0) process.umask(process.umask() | OTHERS);
}
