/** Disks with many file systems, and more than one system. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { inspectImage } from '../../../src/engine/duplicate/inspect.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { MiB, newFile, tool, writeInto } from './small-disk.ts';

const folder = tempDir('many-parts');
const linuxRoot = '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709';
const SECTOR = 512;

/** An old system in the first partition, 50 small file systems, and the system that the table's types tell of in the last one. */
function makeDisk(path: string): { readonly root: { readonly number: number; readonly offset: number } } {
  const many = 50;
  newFile(path, (80 + many) * MiB);
  const at = (mebibytes: number): number => (mebibytes * MiB) / SECTOR;
  const lines = [
    `start=${at(1)}, size=${at(16)}`,
    ...Array.from({ length: many }, (_, i) => `start=${at(17 + i)}, size=${at(1)}`),
    `start=${at(17 + many)}, size=${at(32)}, type=${linuxRoot}`,
  ];
  tool('sfdisk', ['-q', path], `label: gpt\n${lines.join('\n')}\n`);
  makeSystem(path, 'old-system', 1 * MiB, 16 * MiB);
  for (let i = 0; i < many; i++) tool('mke2fs', ['-q', '-F', '-t', 'ext2', '-E', `offset=${(17 + i) * MiB}`, path, '1024k']);
  const offset = (17 + many) * MiB;
  makeSystem(path, 'source-01', offset, 32 * MiB);
  return { root: { number: many + 2, offset } };
}

function makeSystem(path: string, host: string, offset: number, size: number): void {
  const tree = join(folder, host);
  mkdirSync(join(tree, 'etc'), { recursive: true });
  writeFileSync(join(tree, 'etc/hostname'), `${host}\n`);
  writeFileSync(join(tree, 'etc/os-release'), 'ID=debian\nPRETTY_NAME="Debian"\n');
  tool('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', tree, '-E', `offset=${offset}`, path, `${size / 1024}k`]);
}

test('the system is found among fifty other file systems', async () => {
  const path = join(folder, 'many.img');
  makeDisk(path);
  const { disk, notes } = await inspectImage(path);
  assert.is(disk.system?.hostname, 'source-01');
  assert.equal(
    notes.filter((note) => /cannot be looked into/.test(note)),
    [],
  );
});

test('when the part that its type calls the root cannot be opened, another system is not taken for it', async () => {
  const path = join(folder, 'damaged.img');
  const { root } = makeDisk(path);
  // The block group descriptors: the superblock still tells what it is.
  writeInto(path, Buffer.alloc(4096, 0xff), root.offset + 4096);
  writeInto(path, Buffer.alloc(4096, 0xff), root.offset + 2048);
  const { disk, notes } = await inspectImage(path);
  assert.is(disk.system, undefined);
  assert.ok(
    notes.some((note) => note.includes(`partition ${root.number}`) && /cannot be looked into/.test(note)),
    notes.join('\n'),
  );
});

test.run();
