/** A source with the odd things that file systems hold, its clones, and ways to spoil them. */
import { execFileSync } from 'node:child_process';
import { closeSync, linkSync, openSync, readSync, symlinkSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import type { CloneRequest } from '../../../src/engine/duplicate/request.ts';
import { type VerifyRequest, type VerifyResult, verifyClone } from '../../../src/engine/duplicate/verify.ts';
import { setXattr } from '../../../src/engine/native/xattr.ts';
import { needRoot } from '../../fixtures/privilege.ts';
import { makeServerDisk, type ServerDisk } from '../../fixtures/server-disk.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { edit } from './verified.ts';

const run = (tool: string, ...args: string[]) => execFileSync(tool, args, { stdio: ['ignore', 'pipe', 'pipe'] });

/** Makes `name` in a folder a file whose name is no UTF-8. */
export function oddName(folder: string, byte = 0xff): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/odd-`), Buffer.from([byte])]);
}

type PartName = ServerDisk['parts'][number]['name'];

export class Disks {
  readonly folder: string;
  readonly source: ServerDisk;
  readonly profile: string;

  private constructor(folder: string, source: ServerDisk) {
    this.folder = folder;
    this.source = source;
    this.profile = join(folder, 'twin.yaml');
    writeFileSync(
      this.profile,
      'apiVersion: doppel/v1\nhost: twin-02\nidentity:\n  hostname: twin-02\n  machineId: generate\n  sshHostKeys: {mode: generate, types: [ed25519]}\n',
    );
  }

  static async make(): Promise<Disks> {
    needRoot();
    const folder = tempDir('verify');
    const disks = new Disks(folder, await makeServerDisk({ path: join(folder, 'source.img') }));
    disks.edit(disks.source.path, 'root', (root) => {
      writeFileSync(join(root, 'var/lib/one'), 'linked\n');
      linkSync(join(root, 'var/lib/one'), join(root, 'var/lib/two'));
      writeFileSync(join(root, 'var/lib/three'), 'linked\n');
      symlinkSync('one', join(root, 'var/lib/link'));
      writeFileSync(oddName(join(root, 'var/lib')), 'odd\n');
      setXattr(join(root, 'var/lib/one'), 'user.note', Buffer.from('kept'));
      run('mknod', join(root, 'var/lib/null'), 'c', '1', '3');
      run('mkfifo', join(root, 'var/lib/pipe'));
      writeFileSync(join(root, 'var/lib/sparse'), 'begin');
      truncateSync(join(root, 'var/lib/sparse'), 40 << 20);
      const file = openSync(join(root, 'var/lib/sparse'), 'r+');
      writeSync(file, 'middle', 20 << 20);
      closeSync(file);
    });
    const seed = join(folder, 'seed');
    writeFileSync(seed, 'seed of the source');
    const esp = disks.esp(disks.source.path);
    run('mmd', '-i', esp, '::/loader');
    run('mcopy', '-i', esp, seed, '::/loader/random-seed');
    return disks;
  }

  part(name: PartName) {
    const part = this.source.parts.find((each) => each.name === name);
    if (part === undefined) throw new Error(`no part ${name}`);
    return part;
  }

  /** As mtools takes it. */
  esp(image: string): string {
    return `${image}@@${this.part('esp').offset}`;
  }

  async clone(name: string, as: 'file' | 'none', more: Partial<CloneRequest> = {}): Promise<string> {
    const target = join(this.folder, name);
    writeFileSync(target, '');
    truncateSync(target, this.source.size);
    const plan = await planClone({
      source: this.source.path,
      target,
      identity: { choice: as, profiles: [], replaceProfile: false, ...(as === 'file' ? { file: this.profile } : {}) },
      kinds: {},
      kindOverrides: new Map(),
      unused: 'skip',
      exact: false,
      verify: false,
      allowInconsistent: false,
      expect: [],
      ...more,
    });
    await executeClone(plan);
    return target;
  }

  /** A copy of an image that may be spoilt. */
  copy(image: string, name = 'spoilt.img'): string {
    const path = join(this.folder, name);
    run('cp', '--sparse=always', image, path);
    return path;
  }

  verify(target: string, more: Partial<VerifyRequest> = {}): Promise<VerifyResult> {
    return verifyClone({ source: this.source.path, target, as: 'target', profiles: [], kinds: {}, exact: false, ...more });
  }

  /** Mounts a part read-write for a moment. */
  edit(image: string, name: 'root' | 'data', change: (root: string) => void): void {
    const { offset, size } = this.part(name);
    edit(image, { offset, length: size }, change, name === 'root' ? 'ext4' : 'xfs');
  }
}

export function readBytes(image: string, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const file = openSync(image, 'r');
  readSync(file, bytes, 0, length, offset);
  closeSync(file);
  return bytes;
}

export function writeBytes(image: string, offset: number, bytes: Uint8Array): void {
  const file = openSync(image, 'r+');
  writeSync(file, bytes, 0, bytes.length, offset);
  closeSync(file);
}

export function flip(image: string, offset: number): void {
  const bytes = readBytes(image, offset, 1);
  writeBytes(image, offset, Buffer.of((bytes[0] as number) ^ 0xff));
}

/** Where a text first stands in an image; bytes. */
export function placeOf(image: string, text: string): number {
  return Number(execFileSync('grep', ['-obUaF', '-m1', text, image], { encoding: 'utf8' }).split(':')[0]);
}

/** SHA-256 of a file. */
export function digest(image: string): string {
  return execFileSync('sha256sum', [image], { encoding: 'utf8' }).slice(0, 64);
}
