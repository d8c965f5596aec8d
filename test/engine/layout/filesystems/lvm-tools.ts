/** Real LVM2 metadata on loop devices, made by lvm2 without the device mapper of the kernel. */
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { onLoop } from './fuse.ts';

export interface Lvm {
  readonly directory: string;
  /** The images of the physical volumes and the devices that show them, in the same order. */
  readonly images: readonly string[];
  readonly devices: readonly string[];
  /** Runs a command of lvm2 that sees only these devices. */
  run(...command: string[]): Promise<string>;
}

/** Runs `body` with `count` empty images of `size` bytes that lvm2 can use. */
export async function withLvm<T>(directory: string, count: number, size: number, body: (lvm: Lvm) => Promise<T>): Promise<T> {
  const images = Array.from({ length: count }, (_, i) => join(directory, `pv${i}`));
  const devices: string[] = [];
  const next = async (): Promise<T> => {
    const image = images[devices.length];
    if (image === undefined) {
      const env = await configured(directory, devices);
      const run = async (command: string, ...args: string[]): Promise<string> => (await execa(command, args, { env })).stdout;
      return body({ directory, images, devices, run: run as Lvm['run'] });
    }
    await writeFile(image, '');
    await truncate(image, size);
    return onLoop(image, (device) => {
      devices.push(device);
      return next();
    });
  };
  return next();
}

async function configured(directory: string, devices: readonly string[]): Promise<NodeJS.ProcessEnv> {
  const folder = join(directory, 'etc');
  await mkdir(join(folder, 'lock'), { recursive: true });
  const filter = [...devices.map((device) => `"a|^${device}$|"`), '"r|.*|"'].join(', ');
  await writeFile(
    join(folder, 'lvm.conf'),
    `devices { filter = [${filter}] global_filter = [${filter}] use_devicesfile = 0 hints = "none" obtain_device_list_from_udev = 0 external_device_info_source = "none" }
global { activation = 0 use_lvmpolld = 0 event_activation = 0 locking_dir = "${folder}/lock" }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
backup { backup = 0 archive = 0 }
`,
  );
  return { LVM_SYSTEM_DIR: folder, LVM_SUPPRESS_FD_WARNINGS: '1' };
}

/** Makes a linear logical volume, or one with other options, without writing to it. */
export async function makeVolume(lvm: Lvm, name: string, mebibytes: number, ...more: string[]): Promise<void> {
  await lvm.run('lvcreate', '-q', '-y', '-an', '-Wn', '-Zn', '-n', name, '-L', `${mebibytes}m`, ...more);
}

/** Replaces the logical volumes of `vg` by what the text says, and lets lvm2 check and write it. */
export async function restoreVolumes(lvm: Lvm, volumes: string): Promise<void> {
  const file = join(lvm.directory, 'group');
  await lvm.run('vgcfgbackup', '-q', '-f', file, 'vg');
  const text = (await execa('cat', [file])).stdout;
  const head = text.slice(0, text.lastIndexOf('}'));
  await writeFile(file, `${head.replace(/\tlogical_volumes \{.*/s, '')}\n logical_volumes {\n${volumes}\n}\n}\n`);
  await lvm.run('vgcfgrestore', '-q', '-y', '--force', '-f', file, 'vg');
}

let made = 0;

/** The description of a logical volume; every segment is a list of lines. */
export function volume(name: string, status: string, ...segments: string[][]): string {
  const id = `ab1CDE-0000-0000-0000-0000-0000-${String(++made).padStart(6, '0')}`;
  const list = segments.map((lines, i) => `segment${i + 1} {\n${lines.join('\n')}\n}`).join('\n');
  const words = status.split(' ').map((word) => `"${word}"`);
  return `${name} {\nid = "${id}"\nstatus = [${words}]\nflags = []\nsegment_count = ${segments.length}\n${list}\n}`;
}

/** A segment on physical volumes, of `extents` extents from `start` on. */
export function striped(start: number, extents: number, ...stripes: (readonly [pv: string, extent: number])[]): string[] {
  const size = stripes.length > 1 ? ['stripe_size = 128'] : [];
  const places = stripes.map(([pv, extent]) => `"${pv}", ${extent}`);
  return [
    `start_extent = ${start}`,
    `extent_count = ${extents}`,
    'type = "striped"',
    `stripe_count = ${stripes.length}`,
    ...size,
    `stripes = [${places}]`,
  ];
}
