/** Recognises files that are not raw disks by their first bytes, so that nobody copies a container as if it were its contents. */
import { ForeignFormatError, shellWord } from './errors.ts';

interface Format {
  readonly name: string;
  readonly offset: number;
  readonly magic: string | readonly number[];
  readonly todo: (image: string) => string;
}

const convert = (format: string) => (image: string) =>
  `Convert it first: qemu-img convert -f ${format} -O raw ${shellWord(image)} ${shellWord(`${image}.raw`)}`;
const decompress = (command: string) => (image: string) =>
  `Unpack it first: ${command} < ${shellWord(image)} > ${shellWord(`${image}.raw`)}`;
const unpack = (command: string) => (image: string) => `Unpack it first: ${command} ${shellWord(image)}`;

/** Magics from the formats' specifications; offsets in bytes. */
const formats: readonly Format[] = [
  { name: 'qcow image', offset: 0, magic: [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 1], todo: convert('qcow') },
  { name: 'qcow2 image', offset: 0, magic: [0x51, 0x46, 0x49, 0xfb], todo: convert('qcow2') },
  { name: 'VMDK image', offset: 0, magic: 'KDMV', todo: convert('vmdk') },
  { name: 'VMDK image', offset: 0, magic: 'COWD', todo: convert('vmdk') },
  { name: 'VMDK descriptor', offset: 0, magic: '# Disk DescriptorFile', todo: convert('vmdk') },
  { name: 'VHDX image', offset: 0, magic: 'vhdxfile', todo: convert('vhdx') },
  { name: 'VHD image', offset: 0, magic: 'conectix', todo: convert('vpc') },
  { name: 'VDI image', offset: 64, magic: [0x7f, 0x10, 0xda, 0xbe], todo: convert('vdi') },
  { name: 'QED image', offset: 0, magic: [0x51, 0x45, 0x44, 0x00], todo: convert('qed') },
  { name: 'Parallels image', offset: 0, magic: 'WithoutFreeSpace', todo: convert('parallels') },
  { name: 'Parallels image', offset: 0, magic: 'WithouFreSpacExt', todo: convert('parallels') },
  { name: 'gzip archive', offset: 0, magic: [0x1f, 0x8b, 0x08], todo: decompress('gunzip') },
  { name: 'xz archive', offset: 0, magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], todo: decompress('unxz') },
  { name: 'zstd archive', offset: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], todo: decompress('unzstd') },
  { name: 'bzip2 archive', offset: 0, magic: 'BZh', todo: decompress('bunzip2') },
  { name: 'lz4 archive', offset: 0, magic: [0x04, 0x22, 0x4d, 0x18], todo: decompress('unlz4') },
  { name: 'zip archive', offset: 0, magic: [0x50, 0x4b, 0x03, 0x04], todo: unpack('unzip') },
  { name: '7z archive', offset: 0, magic: [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], todo: unpack('7z x') },
  { name: 'lzip archive', offset: 0, magic: 'LZIP', todo: decompress('lzip -d') },
  { name: 'RAR archive', offset: 0, magic: 'Rar!', todo: unpack('unrar x') },
  { name: 'tar archive', offset: 257, magic: 'ustar', todo: unpack('tar xf') },
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
  { name: 'VHD image', offset: 0, magic: 'conectix', todo: convert('vpc') },
  { name: 'DMG image', offset: 0, magic: 'koly', todo: convert('dmg') },
];

/** Bytes from the start and from the end of a file that `refuseForeignFormat` wants to see (all of a shorter one). */
export const formatHeadLength = 512;

/** @throws ForeignFormatError with the command that makes a raw image of it. */
export function refuseForeignFormat(image: string, head: Uint8Array, tail: Uint8Array = new Uint8Array()): void {
  refuse(image, head, formats);
  refuse(image, tail, trailers);
}

function refuse(image: string, sector: Uint8Array, known: readonly Format[]): void {
  for (const { name, offset, magic, todo } of known) {
    const bytes = typeof magic === 'string' ? Buffer.from(magic, 'latin1') : Uint8Array.from(magic);
    if (Buffer.compare(sector.subarray(offset, offset + bytes.length), bytes) === 0) {
      throw new ForeignFormatError(image, name, todo(image));
    }
  }
}
