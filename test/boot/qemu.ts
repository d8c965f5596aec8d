/** Boots a disk image in QEMU without a screen and reads its serial port. The image itself is not written unless asked for. */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { atEnd } from '../fixtures/cleanup.ts';
import { tempDir } from '../fixtures/temp.ts';

export interface BootOptions {
  readonly image: string;
  readonly firmware: 'uefi' | 'bios';
  /** QEMU's accelerator, as `tcg` or `kvm`. */
  readonly accelerator: string;
  /** Longest time in seconds; the machine is then killed. */
  readonly seconds: number;
  /** SMBIOS serial number: how the test speaks to the guest. */
  readonly serial?: string;
  /** A network card, without a way out; default true. Without one, firmware does not try to boot from the network. */
  readonly network?: boolean;
  /** Let the guest write to the image; default false, what it writes is then thrown away. */
  readonly writable?: boolean;
  /** Kill the machine, as a power failure would, once the console holds this. */
  readonly killAt?: string | RegExp;
}

export interface BootResult {
  /** All that came on the serial port. */
  readonly console: string;
  /** SeaBIOS' messages; empty with UEFI. */
  readonly firmwareLog: string;
  readonly ended: 'powered off' | 'killed at the text' | 'killed at the time limit';
  readonly seconds: number;
}

/** Code and variables of OVMF, where Debian and Fedora put them. */
const ovmf = [
  ['/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd'],
  ['/usr/share/OVMF/OVMF_CODE.fd', '/usr/share/OVMF/OVMF_VARS.fd'],
  ['/usr/share/edk2/ovmf/OVMF_CODE.fd', '/usr/share/edk2/ovmf/OVMF_VARS.fd'],
] as const;

/** @throws when QEMU does not start, or ends with an error */
export async function boot(options: BootOptions): Promise<BootResult> {
  const folder = tempDir('boot');
  try {
    return await run(options, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(options: BootOptions, folder: string): Promise<BootResult> {
  const consoleFile = join(folder, 'console');
  const firmwareFile = join(folder, 'firmware');
  for (const file of [consoleFile, firmwareFile]) writeFileSync(file, '');
  const started = Date.now();
  const seconds = (): number => (Date.now() - started) / 1000;
  const qemu = spawn('qemu-system-x86_64', machine(options, folder, consoleFile, firmwareFile), {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const takeBack = atEnd(() => qemu.kill('SIGKILL'));
  const ending = endOf(qemu);
  let ended: BootResult['ended'] = 'powered off';
  for (;;) {
    const result = await Promise.race([ending, sleep(200)]);
    if (result !== undefined) {
      if (result.code !== 0 && result.signal !== 'SIGKILL') throw new Error(`QEMU ended with ${result.code}: ${result.stderr}`);
      break;
    }
    if (ended !== 'powered off') continue;
    if (options.killAt !== undefined && holds(readFileSync(consoleFile, 'utf8'), options.killAt)) ended = 'killed at the text';
    else if (seconds() > options.seconds) ended = 'killed at the time limit';
    if (ended !== 'powered off') qemu.kill('SIGKILL');
  }
  takeBack();
  const read = (file: string): string => readFileSync(file, 'utf8');
  return { console: read(consoleFile), firmwareLog: read(firmwareFile), ended, seconds: seconds() };
}

function machine(options: BootOptions, folder: string, consoleFile: string, firmwareFile: string): string[] {
  const { image, firmware, accelerator, serial, network = true, writable = false } = options;
  const args = ['-machine', 'q35', '-accel', accelerator, '-cpu', 'max', '-smp', '2', '-m', '1024', '-no-reboot'];
  args.push('-nodefaults', '-display', 'none', '-serial', `file:${consoleFile}`, '-device', 'virtio-rng-pci');
  args.push('-drive', `file=${image},format=raw,if=virtio,${writable ? 'cache=none' : 'snapshot=on'}`);
  args.push('-nic', network ? 'user,restrict=on,model=virtio-net-pci' : 'none');
  if (serial !== undefined) args.push('-smbios', `type=1,serial=${serial}`);
  if (firmware === 'bios') {
    // SeaBIOS writes its messages to this port.
    args.push('-chardev', `file,path=${firmwareFile},id=messages`, '-device', 'isa-debugcon,iobase=0x402,chardev=messages');
    return args;
  }
  const found = ovmf.find((files) => files.every((file) => existsSync(file)));
  if (found === undefined) throw new Error('there is no OVMF firmware. Install the package ovmf.');
  const variables = join(folder, 'variables');
  copyFileSync(found[1], variables);
  args.push('-drive', `if=pflash,format=raw,readonly=on,file=${found[0]}`, '-drive', `if=pflash,format=raw,file=${variables}`);
  return args;
}

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

function endOf(child: ChildProcess): Promise<End> {
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, stderr }));
  });
}

function holds(text: string, what: string | RegExp): boolean {
  return typeof what === 'string' ? text.includes(what) : what.test(text);
}

/** The console as a person would read it: without control sequences and empty lines. */
export function readable(console: string): string[] {
  return console
    .replace(/\u001b\[[0-9;=?]*[A-Za-z]/g, '\n')
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
}
