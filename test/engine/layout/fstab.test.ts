import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileSystemInfo, TableEntry } from '../../../src/engine/layout/contract.ts';
import { mountPointOf, parseFstab } from '../../../src/engine/layout/fstab.ts';

const entry: TableEntry = {
  number: 2,
  firstSector: 2048,
  lastSector: 4095,
  type: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
  guid: '5EED0000-0002-4000-8000-00000000000A',
  name: 'my data',
  attributes: 0n,
};
const fs: FileSystemInfo = {
  type: 'ext4',
  uuid: '5eed0000-0003-4000-8000-00000000000b',
  label: 'a/b é',
  size: 0,
  state: 'clean',
};

test('fields, comments, blanks, missing fields and octal escapes are read as mount reads them', () => {
  const text = [
    '# /etc/fstab',
    '',
    'UUID=abc  /\text4 errors=remount-ro,noatime 0 1\r',
    '  LABEL=x\t//srv//data\\040files/./  ',
    'lonely',
    'PARTLABEL=back\\134slash none swap sw',
    'tmpfs /t\\303\\251 tmpfs',
  ].join('\n');
  assert.equal(parseFstab(text), [
    { spec: 'UUID=abc', mountPoint: '/', type: 'ext4', options: ['errors=remount-ro', 'noatime'] },
    { spec: 'LABEL=x', mountPoint: '/srv/data files', type: 'auto', options: ['defaults'] },
    { spec: 'PARTLABEL=back\\slash', mountPoint: 'none', type: 'swap', options: ['sw'] },
    { spec: 'tmpfs', mountPoint: '/té', type: 'tmpfs', options: ['defaults'] },
  ]);
});

test('a line is matched to a partition by every name that fstab can give it', () => {
  for (const spec of [
    'UUID=5eed0000-0003-4000-8000-00000000000b',
    'UUID="5EED0000-0003-4000-8000-00000000000B"',
    "LABEL='a/b\\040é'",
    'LABEL="a/b\\040\\303\\251"',
    'PARTUUID=5eed0000-0002-4000-8000-00000000000a',
    'PARTLABEL=my\\040data',
    'PARTLABEL="my\\040data"',
    '/dev/disk/by-uuid/5eed0000-0003-4000-8000-00000000000b',
    '/dev/disk/by-label/a\\x2fb\\x20é',
    '/dev/disk/by-label/a\\x2fb\\x20\\xc3\\xa9',
    '/dev/disk/by-partuuid/5eed0000-0002-4000-8000-00000000000a',
    '/dev/disk/by-partlabel/my\\x20data',
  ]) {
    assert.is(mountPointOf(entry, fs, parseFstab(`${spec} /data ext4 defaults 0 2`)), '/data', spec);
  }
});

test('other names mean other partitions', () => {
  for (const spec of [
    'UUID=',
    'UUID=5eed',
    'LABEL=A/B\\040é',
    'PARTLABEL=my',
    '/dev/sda2',
    '/dev/disk/by-id/x',
    'tmpfs',
    'LABEL="a',
  ]) {
    assert.is(mountPointOf(entry, fs, parseFstab(`${spec} /data`)), undefined, spec);
  }
  assert.is(mountPointOf(entry, undefined, parseFstab(`UUID=${fs.uuid} /data`)), undefined);
  const unnamed = { ...entry, name: '' };
  assert.is(mountPointOf(unnamed, { ...fs, label: '' }, parseFstab('LABEL= /a\nPARTLABEL="" /b')), undefined);
});

test('of several mounts of one file system the root counts', () => {
  const lines = parseFstab(`UUID=${fs.uuid} /home btrfs subvol=@home\nUUID=${fs.uuid} / btrfs subvol=@\n`);
  assert.is(mountPointOf(entry, fs, lines), '/');
  assert.is(mountPointOf(entry, fs, lines.slice(0, 1)), '/home');
});

test('MBR partitions are matched by disk signature and number', () => {
  assert.is(mountPointOf({ ...entry, guid: '5eed0001-02' }, undefined, parseFstab('PARTUUID=5EED0001-02 /x')), '/x');
});

test('a long text is read in bounded time', () => {
  assert.is(parseFstab(`UUID=a ${'\\040'.repeat(100_000)}`).length, 1);
  assert.is(parseFstab('a /b\n'.repeat(20_000)).length, 10_000);
});

test.run();
