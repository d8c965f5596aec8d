/**
 * Recognises files that are not raw disks by their first and last bytes, so that nobody copies a container as if it were its
 * contents. Disk formats are opened through QEMU; archives and compressed files are refused.
 */
import { ForeignFormatError, shellWord } from './errors.ts';

/** Formats that QEMU reads and writes, by the names of its drivers. */
export type DiskFormat = 'qcow2' | 'qcow' | 'vmdk' | 'vhdx' | 'vpc' | 'vdi' | 'qed' | 'parallels';

interface Format {
  readonly name: string;
  readonly offset: number;
  readonly magic: string | readonly number[];
  /** Absent where QEMU cannot write what is inside. */
  readonly driver?: DiskFormat;
  readonly todo: (image: string) => string;
}

const convert = (format: string) => (image: string) =>
  `Convert it first: qemu-img convert -f ${format} -O raw ${shellWord(image)} ${shellWord(`${image}.raw`)}`;
const decompress = (command: string) => (image: string) =>
  `Unpack it first: ${command} < ${shellWord(image)} > ${shellWord(`${image}.raw`)}`;
const unpack = (command: string) => (image: string) => `Unpack it first: ${command} ${shellWord(image)}`;

function disk(driver: DiskFormat, name: string, offset: number, magic: Format['magic']): Format {
  return { name, offset, magic, driver, todo: convert(driver) };
}

/** Magics from the formats' specifications; offsets in bytes. */
const formats: readonly Format[] = [
  disk('qcow', 'qcow image', 0, [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 1]),
  disk('qcow2', 'qcow2 image', 0, [0x51, 0x46, 0x49, 0xfb]),
  disk('vmdk', 'VMDK image', 0, 'KDMV'),
  disk('vmdk', 'VMDK image', 0, 'COWD'),
  disk('vmdk', 'VMDK descriptor', 0, '# Disk DescriptorFile'),
  disk('vhdx', 'VHDX image', 0, 'vhdxfile'),
  disk('vpc', 'VHD image', 0, 'conectix'),
  disk('vdi', 'VDI image', 64, [0x7f, 0x10, 0xda, 0xbe]),
  disk('qed', 'QED image', 0, [0x51, 0x45, 0x44, 0x00]),
  disk('parallels', 'Parallels image', 0, 'WithoutFreeSpace'),
  disk('parallels', 'Parallels image', 0, 'WithouFreSpacExt'),
  { name: 'gzip archive', offset: 0, magic: [0x1f, 0x8b, 0x08], todo: decompress('gunzip') },
  { name: 'xz archive', offset: 0, magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], todo: decompress('unxz') },
  { name: 'zstd archive', offset: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], todo: decompress('unzstd') },
  { name: 'bzip2 archive', offset: 0, magic: 'BZh', todo: decompress('bunzip2') },
  { name: 'lz4 archive', offset: 0, magic: [0x04, 0x22, 0x4d, 0x18], todo: decompress('unlz4') },
  { name: 'zip archive', offset: 0, magic: [0x50, 0x4b, 0x03, 0x04], todo: unpack('unzip') },
  { name: '7z archive', offset: 0, magic: [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], todo: unpack('7z x') },
  { name: 'lzip archive', offset: 0, magic: 'LZIP', todo: decompress('lzip -d') },
  { name: 'RAR archive', offset: 0, magic: 'Rar!', todo: unpack('unrar x') },
  {
    name: 'tar archive',
    offset: 257,
    magic: 'ustar',
    todo: (image) =>
      // Also as a line of a shell.
      `${unpack('tar xf')(image)}  # what doppel captured is no disk: doppel restore ${shellWord(image)} TARGET`,
  },
  { name: 'WIM archive', offset: 0, magic: 'MSWIM', todo: unpack('wimlib-imagex apply') },
  { name: 'EWF image', offset: 0, magic: [0x45, 0x56, 0x46, 0x09, 0x0d, 0x0a, 0xff, 0x00], todo: unpack('ewfexport -f raw') },
  {
    name: 'Android sparse image',
    offset: 0,
    magic: [0x3a, 0xff, 0x26, 0xed],
    todo: (image) => `Unpack it first: simg2img ${shellWord(image)} ${shellWord(`${image}.raw`)}`,
  },
  { name: 'partclone image', offset: 0, magic: 'partclone-image', todo: () => 'Restore it with partclone.restore first.' },
];

/** In the last sector; what comes before may be raw, but the disk inside ends a sector earlier. */
const trailers: readonly Format[] = [
  disk('vpc', 'VHD image', 0, 'conectix'),
  { name: 'DMG image', offset: 0, magic: 'koly', todo: convert('dmg') },
];

/** Bytes from the start and from the end of a file that `formatOf` wants to see (all of a shorter one). */
export const formatHeadLength = 512;

/**
 * The format of a regular file; undefined for a raw one.
 * @throws ForeignFormatError with the command that makes a raw image of what QEMU cannot serve.
 */
export function formatOf(image: string, head: Uint8Array, tail: Uint8Array): DiskFormat | undefined {
  const found = find(head, formats) ?? find(tail, trailers);
  if (found === undefined) return undefined;
  if (found.driver === undefined) throw new ForeignFormatError(image, found.name, found.todo(image));
  return found.driver;
}

/** A block device is always raw: whoever writes to the disk could make it look like anything. @throws ForeignFormatError */
export function refuseForeignFormat(image: string, head: Uint8Array): void {
  const found = find(head, formats);
  if (found !== undefined) throw new ForeignFormatError(image, found.name, found.todo(image));
}

function find(sector: Uint8Array, known: readonly Format[]): Format | undefined {
  return known.find(({ offset, magic }) => {
    const bytes = typeof magic === 'string' ? Buffer.from(magic, 'latin1') : Uint8Array.from(magic);
    return Buffer.compare(sector.subarray(offset, offset + bytes.length), bytes) === 0;
  });
}
