import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileSystemInfo, PartKind } from '../../../src/engine/layout/contract.ts';
import { describeType, kindOf } from '../../../src/engine/layout/kinds.ts';
import { gptTypes } from '../../../src/engine/layout/kinds-gpt-types.ts';
import { mbrTypes } from '../../../src/engine/layout/kinds-mbr-types.ts';
import { incompletePartitionType, profilePartitionType } from '../../../src/engine/layout/types.ts';

const linux = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';
const basicData = 'EBD0A0A2-B9E5-4433-87C0-68B6B72699C7';

function kind(type: string, evidence: { fs?: string; mountPoint?: string; isSystemRoot?: boolean } = {}): PartKind {
  const entry = { number: 1, firstSector: 2048, lastSector: 4095, type, guid: '', name: '', attributes: 0n };
  const fs: FileSystemInfo | undefined = evidence.fs
    ? { type: evidence.fs, uuid: '', label: '', size: 0, state: 'clean' }
    : undefined;
  return kindOf({ entry, fs, mountPoint: evidence.mountPoint, isSystemRoot: evidence.isSystemRoot ?? false });
}

test('a type that speaks for itself decides', () => {
  const expected: readonly [string, PartKind][] = [
    ['C12A7328-F81F-11D2-BA4B-00A0C93EC93B', 'boot'],
    ['BC13C2FF-59E6-4262-A352-B275FD6F7172', 'boot'],
    ['21686148-6449-6E6F-744E-656564454649', 'boot'],
    ['9E1A2D38-C612-4316-AA26-8B49521E5A8B', 'boot'],
    ['4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709', 'os'],
    ['4f68bce3-e8cd-4db1-96e7-fbcaf984b709', 'os'],
    ['B921B045-1DF0-41C3-AF44-4C6F280D3FAE', 'os'],
    ['8484680C-9521-48C6-9C11-B0720656F69E', 'os'],
    ['2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5', 'os'],
    ['E7BB33FB-06CF-4E81-8273-E543B413E2E2', 'os'],
    ['4D21B016-B534-45C2-A9FB-5C16E091FD2D', 'os'],
    ['933AC7E1-2EB4-4F13-B844-0E14E2AEF915', 'application'],
    ['3B8F8425-20E0-4F3B-907F-1A25A76F98E8', 'application'],
    ['773F91EF-66D4-49B5-BD83-D683BF40AD16', 'application'],
    ['0657FD6D-A4AB-43C4-84E5-0933C84B4F4F', 'swap'],
    [profilePartitionType, 'profile'],
    ['E3C9E316-0B5C-4DB8-817D-F92DF00215AE', 'os'],
    ['DE94BBA4-06D1-4D40-A16A-BFD50179D6AC', 'os'],
    ['EF', 'boot'],
    ['27', 'os'],
  ];
  for (const [type, want] of expected) assert.is(kind(type, { mountPoint: '/elsewhere' }), want, type);
});

test('a plain type is told apart by its mount point', () => {
  const expected: readonly [string, PartKind][] = [
    ['/', 'os'],
    ['/usr', 'os'],
    ['/var', 'os'],
    ['/etc', 'os'],
    ['/boot', 'boot'],
    ['/boot/efi', 'boot'],
    ['/efi', 'boot'],
    ['/lib/modules', 'driver'],
    ['/usr/lib/firmware', 'driver'],
    ['/home', 'application'],
    ['/var/lib/mysql', 'application'],
    ['/bootleg', 'application'],
  ];
  for (const [mountPoint, want] of expected) {
    assert.is(kind(linux, { mountPoint }), want, mountPoint);
    assert.is(kind('83', { mountPoint }), want, mountPoint);
  }
});

test('then by what is in it, and what nobody knows may be data', () => {
  assert.is(kind(linux, { isSystemRoot: true }), 'os');
  assert.is(kind(basicData, { fs: 'ntfs', isSystemRoot: true }), 'os');
  assert.is(kind(linux, { mountPoint: '/srv', isSystemRoot: true }), 'application');
  assert.is(kind(linux, { fs: 'swap' }), 'swap');
  assert.is(kind(linux, { fs: 'swsuspend' }), 'swap');
  assert.is(kind(linux, { fs: 'swap', mountPoint: 'none' }), 'swap');
  assert.is(kind('82', { fs: 'swap' }), 'swap');
  assert.is(kind('82'), 'swap');
  assert.is(kind('82', { fs: 'ext4' }), 'application');
  for (const type of [
    linux,
    basicData,
    '83',
    '07',
    'E6D6D379-F507-44C2-A23C-238F2A3DF928',
    '12345678-0000-4000-8000-000000000000',
  ]) {
    assert.is(kind(type), 'application', type);
  }
  assert.is(kind(linux, { fs: 'crypto_LUKS' }), 'application');
});

test('types have names that a person can read', () => {
  assert.is(describeType('gpt', 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B'), 'EFI System');
  assert.is(describeType('gpt', '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709'), 'Linux root (x86-64)');
  assert.is(describeType('gpt', '12345678-0000-4000-8000-000000000000'), '12345678-0000-4000-8000-000000000000');
  assert.is(describeType('mbr', '83'), 'Linux filesystem');
  assert.is(describeType('mbr', '0c'), 'FAT32 (LBA)');
  assert.is(describeType('mbr', '77'), 'type 77');
});

/** In the specification, but not in util-linux 2.38. */
const newer = [
  'E9434544-6E2C-47CC-BAE2-12D6DEAFB44C',
  'D113AF76-80EF-41B4-BDB6-0CFF4D3D4A25',
  '1AACDB3B-5444-4138-BD9E-E5C2239B2346',
];

test('every type of ours is one that sfdisk knows too', async () => {
  const gpt = (await execa('sfdisk', ['-X', 'gpt', '-T'])).stdout.toUpperCase();
  for (const type of Object.keys(gptTypes)) {
    if ([profilePartitionType, incompletePartitionType, ...newer].includes(type)) continue;
    assert.ok(gpt.includes(type), type);
  }
  const mbr = (await execa('sfdisk', ['-X', 'dos', '-T'])).stdout.toUpperCase();
  for (const type of Object.keys(mbrTypes)) assert.match(mbr, new RegExp(`^ ?${type.replace(/^0/, '')} `, 'm'), type);
});

test.run();
