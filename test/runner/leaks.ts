/** Loop devices and mounts that a test left behind, found by their backing file. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** Detaches and unmounts what stems from files in that folder; returns what there was. */
export function clearLeaks(folder: string): string[] {
  const loops = loopsOn(folder);
  const mounts = mountsOf(folder, loops);
  for (const mount of mounts) spawnSync('umount', ['--lazy', mount]);
  for (const loop of loops.reverse()) spawnSync('losetup', ['--detach', loop]);
  return [...mounts.map((mount) => `mount at ${mount}`), ...loops.map((loop) => `loop device ${loop}`)];
}

/** Loops on files in the folder, and loops on those. */
function loopsOn(folder: string): string[] {
  const found: string[] = [];
  for (let before = -1; before !== found.length; ) {
    before = found.length;
    for (const name of readdirSync('/sys/block')) {
      const backing = `/sys/block/${name}/loop/backing_file`;
      if (found.includes(`/dev/${name}`) || !existsSync(backing)) continue;
      const file = readBacking(backing);
      if (file.startsWith(`${folder}/`) || found.includes(file)) found.push(`/dev/${name}`);
    }
  }
  return found;
}

/** Other tests detach their loops while we look. */
function readBacking(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (['ENOENT', 'ENXIO', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}

/** Mount points in the folder or of those devices, deepest first. */
function mountsOf(folder: string, devices: readonly string[]): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [mount, filesystem] = line.split(' - ');
      return { point: fromOctal(mount?.split(' ')[4] ?? ''), source: filesystem?.split(' ')[1] ?? '' };
    })
    .filter(({ point, source }) => point.startsWith(`${folder}/`) || devices.includes(source))
    .map(({ point }) => point)
    .reverse();
}

/** mountinfo writes blanks as octal. */
function fromOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
