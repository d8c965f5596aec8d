/**
 * `npm run test:boot`: clones a real Debian server and boots the clone under QEMU through its own loader. Checks that it is the
 * profile's host with the source's data, that a disk whose clone was killed does not boot, and that the clone of a server which
 * lost power boots too. Takes four minutes without KVM on idle cores, downloads packages the first time, and must run as root.
 *
 *   --source IMAGE   a ready server that tells who it is on the serial port, instead of the one made here; it is only read
 *   --cache DIR      keep the downloaded system there (default ~/.cache/doppel)
 *   --accel NAME     QEMU's accelerator (default tcg; kvm is much faster)
 *   --boot-limit S   longest time for one boot in seconds (default 400)
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { dataChecksum } from '../test/boot/disks.ts';
import { doppel, killInCopy } from '../test/boot/doppel.ts';
import { checkData, checkIdentity, checkRegion, checkSystem, giveProfile, profileText, type Target } from '../test/boot/host.ts';
import { type Identity, identityBegin, identityEnd, parseIdentity, told } from '../test/boot/identity.ts';
import { type BootOptions, boot, readable } from '../test/boot/qemu.ts';
import { makeReport } from '../test/boot/report.ts';
import { bootCodeSays, makeBootableServer } from '../test/fixtures/bootable-server.ts';
import { markPrefix, powerOffWord } from '../test/fixtures/bootable-server-files.ts';
import { needRoot } from '../test/fixtures/privilege.ts';
import { tempDir } from '../test/fixtures/temp.ts';

const { values } = parseArgs({
  options: {
    source: { type: 'string' },
    cache: { type: 'string', default: join(homedir(), '.cache', 'doppel') },
    accel: { type: 'string', default: 'tcg' },
    'boot-limit': { type: 'string', default: '400' },
  },
});
const report = makeReport();
const folder = tempDir('boot-test');
const bootLimit = Number(values['boot-limit']);
/** Longest time in seconds that firmware gets to find something to boot on a fenced disk. */
const fencedLimit = 60;

async function copyOf(image: string, name: string): Promise<string> {
  const copy = join(folder, name);
  await execa('cp', ['--sparse=always', '--reflink=auto', image, copy]);
  return copy;
}

/** Boots through the disk's own loader until it has said who it is; prints that. */
async function bootIdentity(image: string, options: Partial<BootOptions> = {}): Promise<Identity> {
  const result = await boot({
    image,
    firmware: 'uefi',
    accelerator: values.accel,
    seconds: bootLimit,
    serial: powerOffWord,
    ...options,
  });
  const identity = parseIdentity(result.console);
  if (identity === undefined) {
    throw new Error(
      `no identity on the console, ${result.ended} after ${result.seconds.toFixed(1)} s; its end:\n${readable(result.console).slice(-25).join('\n')}`,
    );
  }
  report.say(`booted, ${result.ended} after ${result.seconds.toFixed(1)} s; the console:`);
  for (const [name, told] of identity) for (const value of told) report.say(`  ${name}=${value.slice(0, 160)}`);
  return identity;
}

/** Boots what must not boot. */
async function bootFenced(image: string): Promise<void> {
  const over = /No bootable option or device|Shell>|grub>|grub rescue>|IDENTITY-BEGIN/;
  const common = { image, accelerator: values.accel, seconds: fencedLimit, network: false, serial: powerOffWord } as const;
  const uefi = await boot({ ...common, firmware: 'uefi', killAt: over });
  const lines = readable(uefi.console);
  report.say(`OVMF, ${uefi.ended} after ${uefi.seconds.toFixed(1)} s; the console:`);
  for (const line of lines.slice(0, 12)) report.say(`  ${line.slice(0, 160)}`);
  report.holds('no system came up', !uefi.console.includes(identityBegin) && !/Linux version/.test(uefi.console), 'by OVMF');
  report.holds('no loader was started', !/GRUB|grub>/.test(uefi.console), 'by OVMF');
  const firmwareSays = lines.find((line) => /No bootable option or device|UEFI Interactive Shell/.test(line));
  report.holds('the firmware found nothing to boot', firmwareSays !== undefined, firmwareSays ?? 'it says nothing of the kind');

  const bios = await boot({ ...common, firmware: 'bios', seconds: 20, killAt: new RegExp(bootCodeSays) });
  const biosLines = readable(bios.firmwareLog).filter((line) => /boot/i.test(line));
  for (const line of biosLines.slice(-4)) report.say(`  SeaBIOS: ${line.slice(0, 160)}`);
  report.holds(
    "the source's boot code did not run",
    readable(bios.console).join('\n') === '',
    `SeaBIOS: ${biosLines.at(-1) ?? ''}`,
  );
}

async function bootCodeRuns(image: string): Promise<boolean> {
  const bios = await boot({
    image,
    firmware: 'bios',
    accelerator: values.accel,
    seconds: 20,
    network: false,
    killAt: bootCodeSays,
  });
  return bios.console.includes(bootCodeSays);
}

async function sourceImage(): Promise<string> {
  if (values.source !== undefined) return resolve(values.source);
  const image = join(folder, 'source.img');
  mkdirSync(resolve(values.cache), { recursive: true });
  await makeBootableServer(image, { cache: resolve(values.cache), say: report.say });
  return image;
}

function blankTarget(name: string, size: number): Promise<Target> {
  const image = join(folder, name);
  writeFileSync(image, '', { flag: 'wx' });
  truncateSync(image, size);
  return giveProfile(image, profileFile);
}

const profileFile = join(folder, 'web-07.yaml');

async function main(): Promise<void> {
  needRoot();
  writeFileSync(profileFile, profileText);
  let source: string | undefined;
  let data = '';
  let target: Target | undefined;

  await report.step('The source', async () => {
    const image = await sourceImage();
    data = await dataChecksum(image);
    report.say(`${image}, ${statSync(image).size} bytes; application data ${data}`);
    source = image;
  });
  if (source === undefined) return;
  const from = source;
  const written = statSync(from).mtimeMs;

  await report.step('A clone boots through its own loader as the host of its profile', async () => {
    const to = await blankTarget('target.img', statSync(from).size);
    await doppel('clone', from, to.image, '--yes');
    await checkRegion(report, to, 'after the clone');
    await checkSystem(report, to.image);
    await checkData(report, to.image, data, 'on the clone');
    const identity = await bootIdentity(to.image);
    checkIdentity(report, identity, to);
    if (identity.has('data-checksum'))
      report.equal('application data, as the clone reads it', told(identity, 'data-checksum'), data);
    if (values.source === undefined)
      report.holds('the boot code of sector 0 runs too', await bootCodeRuns(to.image), 'by SeaBIOS');
    await checkRegion(report, to, 'after the boot');
    target = to;
  });

  await report.step('A disk whose clone was killed does not boot, and the same command finishes it', async () => {
    if (target === undefined) throw new Error('there is no clone that boots');
    const to = { ...target, image: await copyOf(target.image, 'fenced.img') };
    const command = ['clone', from, to.image, '--yes'];
    report.say(`killed after ${await killInCopy(...command)} bytes of the copy`);
    await checkRegion(report, to, 'after the kill');
    await bootFenced(to.image);
    await doppel(...command);
    await checkRegion(report, to, 'after the second run');
    await checkData(report, to.image, data, 'after the second run');
    checkIdentity(report, await bootIdentity(to.image), to);
  });

  await report.step('The clone of a server that lost power boots as itself, with the data', async () => {
    const unclean = await copyOf(from, 'unclean.img');
    const mark = randomBytes(6).toString('hex');
    // No word to power off: the machine runs until it is killed, with its journals as they are.
    const before = await bootIdentity(unclean, { writable: true, serial: `${markPrefix}${mark}`, killAt: identityEnd });
    const to = await blankTarget('unclean-target.img', statSync(unclean).size);
    await doppel('clone', unclean, to.image, '--yes');
    await checkRegion(report, to, 'after the clone');
    const identity = await bootIdentity(to.image);
    checkIdentity(report, identity, to);
    for (const name of ['marks-root', 'marks-data']) {
      if (!before.has(name)) continue;
      report.equal(`${name}: what was synced before the power went`, told(identity, name), mark);
    }
    await checkData(report, to.image, data, 'on the clone, journal replayed', true);
    await checkRegion(report, to, 'after the boot');
  });
  report.equal('the source was not written, last change', statSync(from).mtimeMs, written);
}

try {
  await main();
} finally {
  process.exitCode = report.end() ? 0 : 1;
}
