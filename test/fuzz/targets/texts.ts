/** Texts that others wrote: fstab, map files of ddrescue, journals, VMDK descriptors, what qemu-img says, and the first bytes of images. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { type FoundJournal, Journal, journalPath, readJournal } from '../../../src/engine/duplicate/journal.ts';
import { parseRescueMap } from '../../../src/engine/duplicate/rescue-map.ts';
import { DoppelError } from '../../../src/engine/errors.ts';
import { checkQcow2, isSparseVmdk, parseQemuInfo, vmdkExtents } from '../../../src/engine/image/container-headers.ts';
import { formatHeadLength, formatOf, refuseForeignFormat } from '../../../src/engine/image/format.ts';
import { parseSpec } from '../../../src/engine/image/spec.ts';
import { mountPointOf, parseFstab } from '../../../src/engine/layout/fstab.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { part } from '../../engine/layout/table-parts.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { ChangedBytes, SparseBytes } from '../sparse.ts';
import { type FuzzBody, type FuzzTarget, sound } from '../target.ts';
import { mutateText } from '../text.ts';

/** A target whose case is one function of the random numbers and a log. */
export function simple(
  name: string,
  share: number,
  reaches: readonly string[],
  open: (folder: string) => Promise<(random: Random, log: string[]) => Promise<string> | string>,
  prepare?: (folder: string) => Promise<void>,
): FuzzTarget {
  return {
    name,
    share,
    ...(prepare === undefined ? {} : { prepare }),
    async open(folder): Promise<FuzzBody> {
      const one = await open(folder);
      let log: string[] = [];
      return {
        reaches,
        changes: () => log.join('\n').slice(0, 4000),
        run: async (random) => {
          log = [];
          return one(random, log);
        },
      };
    },
  };
}

/** `refused` for an error of ours. */
export async function refusable<T>(work: () => Promise<T> | T): Promise<{ readonly value: T } | undefined> {
  try {
    return { value: await work() };
  } catch (error) {
    if (!(error instanceof DoppelError)) throw error;
    sound(error.message.length < 100_000 && error.todo !== '', 'messages are bounded and say what to do');
    return undefined;
  }
}

const fstab = `# /etc/fstab
UUID=5eed-0001 / ext4 errors=remount-ro 0 1
/dev/disk/by-label/my\\x20data /srv/my\\040data xfs noatime,nofail
LABEL="name" none swap sw
PARTUUID=5EED0000-0000-4000-8000-000000000001\t/boot//efi/./\tvfat\tumask=0077\t0\t1
tmpfs /tmp tmpfs
`;

const fstabTarget = simple('fstab', 3000, ['read'], async () => {
  const words = [
    'UUID=',
    'LABEL=',
    'PARTUUID=',
    'PARTLABEL=',
    '\\040',
    '\\x20',
    '\\377',
    '\\xff',
    '/dev/disk/by-uuid/',
    'none',
    'swap',
    '/',
    '//',
    '/./',
    '/../',
  ];
  const info = { type: 'ext4', uuid: '5eed-0001', label: 'my data', size: 0, state: 'clean' } as const;
  return (random, log) => {
    const text = mutateText(fstab, random, { words, others: [] }, log);
    log.push(JSON.stringify(text));
    const entries = parseFstab(text);
    for (const { spec, mountPoint, options } of entries) {
      sound(spec !== '' && mountPoint !== '' && Array.isArray(options), 'fields are filled');
      sound(!mountPoint.startsWith('/') || mountPoint === '/' || !/\/\/|\/$/.test(mountPoint), 'paths are tidy');
    }
    mountPointOf(part(1, 1, 1), info, entries);
    return 'read';
  };
});

const map = `# Mapfile. Created by GNU ddrescue version 1.27
# Command line: ddrescue /dev/sda disk.img disk.map
# current_pos  current_status  current_pass
0x00A40000     ?               1
#      pos        size  status
0x00000000  0x00100000  +
0x00100000  0x00000200  -
0x00100200  0x0003FE00  *
0x00140000  0x00100000  /
0x00240000  4096  ?
0x00241000  0x3FFBF000  +
`;

const mapTarget = simple('rescue map', 3000, ['read', 'refused'], async () => {
  const words = ['+', '-', '*', '/', '?', 'F', 'G', '0x00000000', '#'];
  return async (random, log) => {
    const text = mutateText(map, random, { words, others: [] }, log);
    log.push(JSON.stringify(text));
    const found = await refusable(() => parseRescueMap(text, 'disk.map'));
    if (found === undefined) return 'refused';
    const { finished, missing } = found.value;
    sound(!finished.intersect(missing).count, 'nothing is both read and missing');
    sound(finished.union(missing).covers({ offset: 0, length: Number.MAX_SAFE_INTEGER }), 'everything is one of both');
    return 'read';
  };
});

const runId = '5EED0000-0000-4000-8000-0000000000F0';
const facts = { runId, source: { path: '/dev/sda', size: 1 << 30 }, target: { path: '/dev/sdb' } };
const pieces = Array.from({ length: 40 }, (_, i) => ({
  offset: i << 20,
  length: 1 << 20,
  digest: i % 5 === 0 ? undefined : (BigInt(i) * 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn,
}));

/** What was written comes back; what is damaged counts as not written, up to the last whole batch. */
const journalTarget = simple('journal', 700, ['read', 'none'], async (samples) => {
  const folder = join(samples, 'state');
  const journal = await Journal.open(folder, facts, undefined);
  for (let i = 0; i < pieces.length; i += 8) await journal.append(pieces.slice(i, i + 8));
  await journal.markDirty([{ offset: 3 << 20, length: 4096 }]);
  await journal.close();
  const path = journalPath(folder, runId);
  const good = readFileSync(path, 'latin1');
  const wrote = new Set(pieces.map((piece) => `${piece.offset} ${piece.length} ${piece.digest}`));
  return async (random, log) => {
    const words = ['p ', 'd ', 'end ', 'zero', ' 0 ', 'doppel-journal 1 ', '{"runId":"x"}', 'null', '[]', '{"runId":1}'];
    const changed = mutateText(good, random, { words, others: [] }, log);
    const sealed = random.once(2);
    const text = sealed ? resealed(changed) : changed;
    writeFileSync(path, text, 'latin1');
    log.push(JSON.stringify(text));
    const found = await refusable(() => readJournal(folder, runId));
    if (found?.value === undefined) return 'none';
    checkJournal(found.value, sealed, text, wrote);
    if (!random.once(8) || typeof found.value.facts.runId !== 'string') return 'read';
    // Going on with it keeps what it said, and nothing behind that.
    const more = await refusable(() => Journal.open(folder, { ...facts, runId }, found.value));
    await more?.value.append([{ offset: 2 ** 40, length: 4096, digest: 7n }]);
    await more?.value.close();
    const late = { offset: 2 ** 40, length: 4096 };
    if (found.value.durable.dirty.touches(late)) return 'read';
    const again = await refusable(() => readJournal(folder, runId));
    sound(again?.value?.durable.find(late)?.digest === 7n, 'what is noted later counts');
    return 'read';
  };
});

function resealed(text: string): string {
  let batch = '';
  return text
    .split('\n')
    .map((line, index) => {
      if (index === 0) return line;
      if (!line.startsWith('end ')) {
        batch += `${line}\n`;
        return line;
      }
      const end = `end ${crc32(Buffer.from(batch, 'latin1')).toString(16).padStart(8, '0')}`;
      batch = '';
      return end;
    })
    .join('\n');
}

function checkJournal({ durable, valid }: FoundJournal, sealed: boolean, text: string, wrote: ReadonlySet<string>): void {
  sound(valid <= text.length && valid > 0, 'the valid part is a part');
  sound(Number.isSafeInteger(durable.bytes) && durable.bytes >= 0, `a sum of ${durable.bytes} bytes`);
  for (const { offset, length } of pieces) {
    const record = durable.find({ offset, length });
    if (record === undefined) continue;
    sound(!durable.dirty.touches({ offset, length }), 'what was written otherwise does not count');
    // A checksum of 32 bits: nobody meets a second text with the same one by chance.
    sound(sealed || wrote.has(`${record.offset} ${record.length} ${record.digest}`), 'a piece that was never noted');
  }
  IntervalSet.of(...durable.dirty);
}

const descriptor = `# Disk DescriptorFile
version=1
CID=5eed0001
parentCID=ffffffff
createType="twoGbMaxExtentSparse"

# Extent description
RW 4192256 SPARSE "disk-s001.vmdk"
RW 4192256 FLAT "disk-f002.vmdk" 0
RW 1024 ZERO
RDONLY 2048 VMFS "disk-flat.vmdk"

# The Disk Data Base
ddb.adapterType = "lsilogic"
`;

const opened = /^[ \t-\r]*([^ \t-\r]{1,9})[ \t-\r]*([+-]?\d+)[ \t-\r]*([^ \t-\r]{1,9})[ \t-\r]*"([^\n\r"]{1,511})"/;

/** What QEMU would open, as vmdk_parse_extents of its block/vmdk.c goes about it: sscanf from each line's start, blanks may be line ends. */
function qemuOpens(descriptor: string): string[] {
  const [text = ''] = descriptor.split('\0');
  const names: string[] = [];
  for (let at = 0; at >= 0 && at < text.length; ) {
    const [, access, , type = '', name = ''] = opened.exec(text.slice(at, at + 2000)) ?? [];
    if (access === 'RW' && ['FLAT', 'SPARSE', 'VMFS', 'VMFSSPARSE', 'SESPARSE'].includes(type)) names.push(name);
    const end = text.indexOf('\n', at);
    at = end < 0 ? -1 : end + 1;
  }
  return names;
}

const vmdkTarget = simple('vmdk', 3000, ['read', 'refused'], async () => {
  const words = [
    'RW',
    'RDONLY',
    'NOACCESS',
    'FLAT',
    'SPARSE',
    'ZERO',
    'VMFS',
    'VMFSSPARSE',
    '"/etc/passwd"',
    '"../x"',
    'RW 1 FLAT "/x" 0\n',
    'RW +1 FLAT "/x" 0\n',
    'RW 1FLAT "/x" 0\n',
    'RW\n1\tFLAT\r"/x" 0',
    '"nbd://x"',
    'KDMV',
  ];
  return async (random, log) => {
    const text = mutateText(descriptor, random, { words, others: [] }, log);
    log.push(JSON.stringify(text));
    const bytes = Buffer.from(text, random.once(4) ? 'utf8' : 'latin1');
    const found = await refusable(() => (isSparseVmdk('x.vmdk', bytes) ? [] : vmdkExtents('x.vmdk', bytes)));
    if (found === undefined) return 'refused';
    for (const extent of found.value)
      sound(!/[/\\:\0]/.test(extent) && extent !== '..' && extent !== '.', 'extents stand beside it');
    if (bytes.toString('latin1', 0, 4) === 'KDMV') return 'read';
    for (const name of qemuOpens(bytes.toString('utf8')))
      sound(found.value.includes(name), `QEMU would open ${JSON.stringify(name)}`);
    return 'read';
  };
});

const qemuInfoTarget = simple(
  'qemu-img info',
  2000,
  ['read', 'refused'],
  async (folder) => {
    const answers = ['vmdk', 'qcow2'].map((kind) => readFileSync(join(folder, `${kind}.json`), 'utf8'));
    const words = [
      'null',
      'true',
      '[]',
      '{}',
      '"x"',
      '"\\u0000"',
      '1',
      '-1',
      '"backing-filename": 5,',
      '"snapshots": 7,',
      '"corrupt": "yes",',
      '"encrypted": 1,',
      '"format-specific": null,',
    ];
    return async (random, log) => {
      const text = mutateText(random.pick(answers), random, { words, others: answers }, log);
      log.push(JSON.stringify(text));
      const found = await refusable(() => parseQemuInfo(text, 'looking at it'));
      if (found === undefined) return 'refused';
      const { backing, virtualSize, snapshots } = found.value;
      sound(Number.isSafeInteger(virtualSize) && Number.isSafeInteger(snapshots), 'numbers');
      sound(
        backing === undefined || (typeof backing.full === 'string' && !backing.full.includes('\0')),
        'a path that can be opened',
      );
      return 'read';
    };
  },
  async (folder) => {
    const qemu = (...args: string[]): string => execFileSync('qemu-img', args, { encoding: 'utf8' });
    for (const kind of ['qcow2', 'vmdk']) {
      const image = join(folder, `x.${kind}`);
      qemu('create', '-q', '-f', kind, join(folder, `base.${kind}`), '1M');
      qemu('create', '-q', '-f', kind, '-b', join(folder, `base.${kind}`), '-F', kind, image);
      if (kind === 'qcow2') qemu('snapshot', '-c', 'one', image);
      writeFileSync(join(folder, `${kind}.json`), qemu('info', '--output=json', image));
      for (const file of [image, join(folder, `base.${kind}`)])
        await SparseBytes.ofFile(file).then((bytes) => bytes.save(`${file}.sample`));
    }
    for (const kind of ['vdi', 'vhdx', 'vpc', 'qed', 'parallels', 'qcow']) {
      const image = join(folder, `x.${kind}`);
      qemu('create', '-q', '-f', kind, image, '1M');
      await (await SparseBytes.ofFile(image)).save(`${image}.sample`);
    }
  },
);

const known = ['qcow2', 'qcow', 'vmdk', 'vhdx', 'vpc', 'vdi', 'qed', 'parallels'];

/** Recognising formats by their first and last bytes, and the header of qcow2. */
const formatTarget: FuzzTarget = {
  ...simple('image formats', 3000, ['raw', 'known', 'refused'], async (folder) => {
    const samples = await Promise.all(known.map((kind) => SparseBytes.load(join(folder, `x.${kind}.sample`))));
    return async (random, log) => {
      const bytes = new ChangedBytes(random.pick(samples));
      const places = [
        { offset: 0, length: 512 },
        { offset: bytes.size - 512, length: 512 },
      ];
      mutate(bytes, random, { places, resize: true });
      log.push(...bytes.log);
      const length = Math.min(formatHeadLength, bytes.size);
      const [head, tail] = [bytes.get(0, length), bytes.get(bytes.size - length, length)];
      await refusable(() => refuseForeignFormat('x', head));
      const found = await refusable(() => {
        const format = formatOf('x', head, tail);
        if (format === 'qcow2') checkQcow2('x', head);
        return format;
      });
      if (found === undefined) return 'refused';
      sound(found.value === undefined || known.includes(found.value), 'a format that is known');
      return found.value === undefined ? 'raw' : 'known';
    };
  }),
  prepare: (folder) => qemuInfoTarget.prepare?.(folder) ?? Promise.resolve(),
};

const specTarget = simple('image names', 1500, ['read', 'refused'], async () => {
  const names = [
    '/etc/passwd#2',
    'disk.img#label=root',
    'nbd://host:10809/export#uuid=5eed-0001',
    'nbd+unix:///x?socket=/run/x#partuuid=5EED-01',
    '/etc/passwd',
  ];
  const words = ['#', '##', 'label=', 'uuid=', 'nbds://', 'nbd+vsock://', '/', '..', '#0', '#99999', '#label='];
  return async (random, log) => {
    const text = mutateText(random.pick(names), random, { words, others: names }, log);
    log.push(JSON.stringify(text));
    return (await refusable(() => parseSpec(text))) === undefined ? 'refused' : 'read';
  };
});

export const textTargets: readonly FuzzTarget[] = [
  fstabTarget,
  mapTarget,
  journalTarget,
  vmdkTarget,
  qemuInfoTarget,
  formatTarget,
  specTarget,
];
