/** The NTFS reader against partclone and ntfs-3g: what it calls used is what they call used, and a copy of that is whole. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileSystemInfo } from '../../../../src/engine/layout/contract.ts';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { copyOnly, digests, fill, inTempDir, MiB, makeImage, mustUse, ranges, usedOf } from './fixtures.ts';
import { fuseMounted, ntfs3g } from './fuse.ts';
import { attributeAt, changeRecord, dataAt, type Ntfs, restartPage, withNtfs } from './ntfs-records.ts';
import { openFile } from './open.ts';
import { usedByPartclone } from './partclone.ts';

const attribute = { information: 0x70, data: 0x80 } as const;

async function make(directory: string, size: number, options = ''): Promise<string> {
  const image = join(directory, 'image');
  await makeImage(image, size, ['mkntfs', '-Q', '-q', '-F', '-L', 'name', ...options.split(' ').filter((word) => word !== '')]);
  return image;
}

async function identify(path: string): Promise<FileSystemInfo | undefined> {
  const image = await openFile(path);
  try {
    return await identifyFileSystem(image);
  } finally {
    await image.close();
  }
}

const mounted = <T>(image: string, body: (root: string) => Promise<T>): Promise<T> => fuseMounted(ntfs3g, image, '', body);

/** Used is what partclone calls used, and the tail behind the last cluster; a copy of it has the same files. */
async function isExact(directory: string, image: string, size: number, clusterBytes: number): Promise<void> {
  const used = await mustUse(image);
  const theirs = await usedByPartclone('ntfs', image);
  assert.equal(ranges(theirs.subtract(used)), [], 'used, but not for us');
  const end = Math.floor((size - 512) / clusterBytes) * clusterBytes;
  for (const range of used.subtract(theirs)) assert.ok(range.offset >= end, `${range.offset}+${range.length} is copied too much`);
  assert.ok(used.covers({ offset: size - 512, length: 512 }));

  const copy = join(directory, 'copy');
  await copyOnly(image, copy, size, used);
  await execa('ntfsfix', ['-n', copy]);
  await execa('ntfsinfo', ['-m', copy]);
  const [before, after] = [await mounted(image, digests), await mounted(copy, digests)];
  assert.equal(after, before);
  assert.ok(before.length > 30);
}

const shapes: readonly (readonly [name: string, size: number, options: string, clusterBytes: number])[] = [
  ['clusters of 4 KiB', 48 * MiB, '', 4096],
  ['clusters of 512 bytes', 24 * MiB, '-c 512', 512],
  ['clusters of 64 KiB and an odd length', 80 * MiB + 7 * 512, '-c 65536', 65536],
];
for (const [name, size, options, clusterBytes] of shapes) {
  test(`NTFS with ${name}: used is what partclone finds, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const image = await make(directory, size, options);
      await mounted(image, (root) => fill(root, { files: 90, largest: MiB }));
      await isExact(directory, image, size, clusterBytes);
    }));
}

test('a master file table in many pieces, and a root directory of many blocks', () =>
  inTempDir(async (directory) => {
    const image = await make(directory, 12 * MiB, '-c 512');
    await mounted(image, async (root) => {
      const files = Array.from({ length: 3600 }, (_, i) => join(root, `full-${i}`));
      for (const file of files) await writeFile(file, Buffer.alloc(1024, file));
      await writeFile(join(root, 'rest'), Buffer.alloc(20 * MiB)).catch(() => {});
      for (let i = 0; i < files.length; i += 2) await writeFile(files[i] as string, '');
      for (let i = 0; i < 700; i++) await writeFile(join(root, `empty-${i}`), '');
    });
    // The runs of $MFT no longer fit into its first record: there is an attribute list.
    await withNtfs(image, (ntfs) => changeRecord(ntfs, 0, (record) => void attributeAt(record, 0x20)));
    await isExact(directory, image, 12 * MiB, 512);
    await mounted(image, (root) => writeFile(join(root, 'hiberfil.sys'), 'hibr'));
    assert.is((await identify(image))?.state, 'hibernated');
  }));

test('names, serial and state are told', () =>
  inTempDir(async (directory) => {
    const image = await make(directory, 16 * MiB);
    const { stdout } = await execa('blkid', ['-p', '-o', 'value', '-s', 'UUID', image]);
    assert.equal(await identify(image), { type: 'ntfs', uuid: stdout, label: 'name', size: 16 * MiB - 512, state: 'clean' });
  }));

const signatures: readonly (readonly [content: string, state: string, reason: RegExp])[] = [
  ['HIBR', 'hibernated', /hibernated Windows/],
  ['hibr', 'hibernated', /hibernated Windows/],
  ['RSTR', 'hibernated', /hibernated Windows/],
  ['wake', 'clean', /^$/],
  ['\0\0\0\0', 'clean', /^$/],
  ['ab', 'clean', /^$/],
  ['????', 'unknown', /start of hiberfil.sys is not known/],
];
for (const [content, state, reason] of signatures) {
  test(`hiberfil.sys that begins with ${JSON.stringify(content)}: ${state}`, () =>
    inTempDir(async (directory) => {
      const image = await make(directory, 16 * MiB);
      for (const length of [content.length, Math.max(content.length, 5000)]) {
        await mounted(image, async (root) => {
          await writeFile(join(root, 'HiberFil.sys'), content.padEnd(content.length < 4 ? content.length : length, 'x'));
        });
        assert.is((await identify(image))?.state, state);
        const result = await usedOf(image);
        assert.match(result.known ? '' : result.reason, reason);
        if (state === 'hibernated') break;
      }
    }));
}

/** Changes that turn a clean volume into one that must not be trusted. */
const changes: readonly {
  readonly name: string;
  readonly state: string;
  readonly reason: RegExp;
  change(ntfs: Ntfs): Promise<unknown>;
}[] = [
  ...(
    [
      ['the dirty flag', 0x1, 'unclean', /dirty flag/],
      ['an upgrade that waits', 0x4, 'unclean', /upgraded/],
      ['chkdsk that did not end', 0x4000, 'unclean', /chkdsk/],
      ['an unknown flag', 0x200, 'unknown', /flags that are not known/],
    ] as const
  ).map(([name, bits, state, reason]) => ({
    name,
    state,
    reason,
    change: (ntfs: Ntfs) =>
      changeRecord(ntfs, 3, (record) => {
        const at = attributeAt(record, attribute.information);
        const value = at + record.readUInt16LE(at + 20);
        record.writeUInt16LE(record.readUInt16LE(value + 10) | bits, value + 10);
      }),
  })),
  {
    name: 'an unknown version',
    state: 'unknown',
    reason: /version 4.1 is not known/,
    change: (ntfs) =>
      changeRecord(ntfs, 3, (record) => {
        const at = attributeAt(record, attribute.information);
        record[at + record.readUInt16LE(at + 20) + 8] = 4;
      }),
  },
  {
    name: 'a record that was torn',
    state: 'clean',
    reason: /record 6 .* torn .* fixups/,
    change: (ntfs) => changeRecord(ntfs, 6, (record) => record.writeUInt16LE(0xbeef, 510)),
  },
  {
    name: 'a first record that differs from its copy',
    state: 'unknown',
    reason: /differs from its copy/,
    change: (ntfs) => changeRecord(ntfs, 1, (record) => record.writeUInt16LE(9, 16), false),
  },
  {
    name: 'a $Bitmap that is too short',
    state: 'clean',
    reason: /\$Bitmap has 8 of 8 bytes/,
    change: (ntfs) =>
      changeRecord(ntfs, 6, (record) => {
        const at = attributeAt(record, attribute.data);
        record.writeBigUInt64LE(8n, at + 48);
        record.writeBigUInt64LE(8n, at + 56);
      }),
  },
  {
    name: 'a $Bitmap outside the volume',
    state: 'clean',
    reason: /run of \$Bitmap lies outside/,
    change: (ntfs) =>
      changeRecord(ntfs, 6, (record) => {
        const at = attributeAt(record, attribute.data);
        const pairs = at + record.readUInt16LE(at + 32);
        const head = record[pairs] as number;
        record.writeIntLE(0x7f, pairs + 1 + (head & 0xf) + (head >>> 4) - 1, 1);
      }),
  },
  {
    name: 'a $Bitmap that calls the master file table free',
    state: 'clean',
    reason: /calls clusters of \$MFT free/,
    change: async (ntfs) => {
      const bit = ntfs.mftAt / ntfs.clusterBytes;
      assert.ok(bit > 0);
      await ntfs.file.write(Buffer.from([1]), 0, 1, (await dataAt(ntfs, 6)) + (bit >>> 3));
    },
  },
  {
    name: 'a boot sector that claims more than the part has',
    state: 'unknown',
    reason: /more than the part/,
    change: (ntfs) => ntfs.file.write(Buffer.from([0, 0, 2]), 0, 3, 40),
  },
  ...(
    [
      [
        'a log that was not replayed',
        { version: [1, 1], clean: false },
        { version: [1, 1], clean: true },
        2n,
        'unclean',
        /not replayed/,
      ],
      [
        'a log that Windows keeps in memory',
        { version: [2, 0], clean: true },
        { version: [2, 0], clean: true },
        1n,
        'unclean',
        /fast startup/,
      ],
      [
        'a log of an unknown version',
        { version: [3, 0], clean: true },
        { version: [3, 0], clean: true },
        1n,
        'unknown',
        /\(3.0\) is not known/,
      ],
    ] as const
  ).map(([name, first, second, lsn, state, reason]) => ({
    name,
    state,
    reason,
    change: async (ntfs: Ntfs) => {
      const log = await dataAt(ntfs, 2);
      const pages = Buffer.concat([restartPage({ ...first, lsn }), restartPage(second)]);
      await ntfs.file.write(pages, 0, pages.length, log);
    },
  })),
  {
    name: 'a log whose second restart page is torn',
    state: 'unknown',
    reason: /restart page of \$LogFile was torn/,
    change: async (ntfs) => {
      const page = restartPage({ version: [1, 1], clean: true });
      const torn = Buffer.from(page);
      torn.writeUInt16LE(1, 1022);
      const pages = Buffer.concat([page, torn]);
      await ntfs.file.write(pages, 0, pages.length, await dataAt(ntfs, 2));
    },
  },
];
for (const { name, state, reason, change } of changes) {
  test(`${name}: not known`, () =>
    inTempDir(async (directory) => {
      const image = await make(directory, 16 * MiB);
      await withNtfs(image, change);
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, reason);
      assert.is((await identify(image))?.state, state);
    }));
}

test('a log that Windows closed is clean: the newer restart page counts', () =>
  inTempDir(async (directory) => {
    const image = await make(directory, 16 * MiB);
    await withNtfs(image, async (ntfs) => {
      const pages = Buffer.concat([
        restartPage({ version: [1, 1], clean: false, lsn: 5n }),
        restartPage({ version: [1, 1], clean: true, lsn: 6n }),
      ]);
      await ntfs.file.write(pages, 0, pages.length, await dataAt(ntfs, 2));
    });
    assert.ok((await usedOf(image)).known);
    assert.is((await identify(image))?.state, 'clean');
  }));

test.run();
