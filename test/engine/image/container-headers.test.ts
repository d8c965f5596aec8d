import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isSparseVmdk, parseQemuInfo, vmdkExtents } from '../../../src/engine/image/container-headers.ts';
import { UnusableImageError } from '../../../src/engine/image/errors.ts';
import { ImageToolError } from '../../../src/engine/image/tools.ts';

const head = '# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\n';
const extents = (lines: string | Buffer) => vmdkExtents('x.vmdk', Buffer.isBuffer(lines) ? lines : Buffer.from(head + lines));

test('the extents of a VMDK descriptor are files beside it', () => {
  const lines =
    'RW 4192256 SPARSE "a-s001.vmdk"\r\n  RW 10 FLAT "b.vmdk" 0\nRW 1024 ZERO\nRDONLY 5 VMFS "c d.vmdk"\nddb.adapterType = "ide"\n';
  assert.equal(extents(lines), ['a-s001.vmdk', 'b.vmdk', 'c d.vmdk']);
});

test('what QEMU would read as an extent, and we not, is refused', () => {
  const lines = [
    'RW 1 FLAT "/etc/shadow" 0',
    'RW +1 FLAT "/etc/shadow" 0',
    'RW 1FLAT "/etc/shadow" 0',
    'RW -1 FLAT "x" 0',
    'RW1 FLAT "/etc/shadow" 0',
    'RW 1 FLAT "../x" 0',
    'RW 1 FLAT ".." 0',
    'RW 1 FLAT "nbd://host/x" 0',
    'RW 1 FLAT "a\0b" 0',
    'RW 1 FLAT',
    'RW 1 ZERO "/etc/shadow"',
    'RW 1 ZERO "a" "b',
    'RW 1 FLAT "a"b" 0',
    'rw 1 OTHER "x"',
  ];
  for (const line of lines) assert.throws(() => extents(`${line}\n`), refused, line);
  assert.throws(
    () => extents(Buffer.concat([Buffer.from(`${head}RW 1 FLAT "a`), Buffer.of(0xff), Buffer.from('" 0\n')])),
    refused,
  );
  assert.throws(() => isSparseVmdk('x.vmdk', Buffer.concat([Buffer.from('KDMV'), Buffer.alloc(60)])), refused);
});

function refused(error: Error): boolean {
  return error instanceof UnusableImageError;
}

test('what qemu-img says is checked before it is believed', () => {
  const good = { 'virtual-size': 1024, 'backing-filename': 'b', 'full-backing-filename': '/b', 'backing-filename-format': 'raw' };
  assert.equal(parseQemuInfo(JSON.stringify(good), 'x'), {
    virtualSize: 1024,
    encrypted: false,
    snapshots: 0,
    corrupt: false,
    backing: { said: 'b', full: '/b', format: 'raw' },
  });
  const bad = ['', 'null', '[]', '{}', '{"virtual-size":-1}', '{"virtual-size":1e99}'];
  const more = [
    { snapshots: 5 },
    { encrypted: 'yes' },
    { 'backing-filename': 5 },
    { 'full-backing-filename': '/a\0b' },
    { 'format-specific': { data: [] } },
  ];
  for (const text of [...bad, ...more.map((one) => JSON.stringify({ ...good, ...one }))]) {
    assert.throws(
      () => parseQemuInfo(text, 'x'),
      (error: Error) => error instanceof ImageToolError,
      text,
    );
  }
});

test.run();
