import { Args, Flags } from '@oclif/core';
import type { ArchiveAccess } from '../engine/archive/access.ts';
import type { Archive } from '../engine/archive/archive.ts';
import { parseReference } from '../engine/archive/registry/reference.ts';
import type { BlobSink } from '../engine/archive/store.ts';
import { ExitCode, UsageError } from '../engine/errors.ts';
import type { RunOptions } from '../engine/events.ts';
import { isRegistryName } from '../engine/image/spec.ts';
import { BaseCommand, progressFlag } from '../ui/base-command.ts';
import { accessFlags, archiveAccess, kindChoice, kindFlags, kindOverrides, sourceArgument } from '../ui/flags.ts';
import { formatBytes, parseSize } from '../ui/format.ts';
import { keepPrivate } from '../ui/private.ts';

export default class Capture extends BaseCommand {
  static override summary = 'Put what a disk holds into an archive.';
  static override description =
    'Reads the parts of SOURCE as "doppel clone" does, and writes them, compressed, to a new ARCHIVE: a directory, a tar file when its ' +
    'name ends with .tar, a tag of a registry (oci://), or standard output for -. What a registry has already is not sent again; logins ' +
    'are those of docker and podman. The archive is an OCI image layout, see docs/archive.md. A profile on SOURCE is not ' +
    'captured, but with --profile-to.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> /dev/sda golden.tar',
    '<%= config.bin %> <%= command.id %> server.img golden --level 9',
    '<%= config.bin %> <%= command.id %> /dev/sda golden-june --base golden-may',
    '<%= config.bin %> <%= command.id %> /dev/sda oci://registry.example.com/golden:12',
    '<%= config.bin %> <%= command.id %> /dev/sda golden.tar --encrypt-to operators.txt --sign key.pem',
    '<%= config.bin %> <%= command.id %> /dev/sda - | ssh store "cat > golden.tar"',
  ];
  static override args = {
    source: sourceArgument,
    archive: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'Directory, tar file (NAME.tar), oci://HOST/REPOSITORY:TAG, or - for standard output.',
    }),
  };
  static override flags = {
    ...kindFlags,
    exact: Flags.boolean({ summary: 'Capture every byte, also unused ones and those between partitions.', helpGroup: 'COPY' }),
    'allow-inconsistent': Flags.boolean({
      summary: 'Capture a source that is in use, every byte as it happens to be.',
      helpGroup: 'COPY',
    }),
    level: Flags.integer({
      min: 1,
      max: 19,
      default: 3,
      summary: 'How hard to compress, as zstd counts: 1 to 19.',
      helpGroup: 'ARCHIVE',
    }),
    base: Flags.string({
      summary: 'An earlier archive: what it holds already is taken from it as it is, neither compressed nor stored again.',
      helpValue: 'ARCHIVE',
      helpGroup: 'ARCHIVE',
    }),
    'segment-size': Flags.string({
      summary:
        'Bytes of the disk that are compressed together: a power of two from 1M to 64M. [default: 8M, more for very large disks]',
      helpValue: 'SIZE',
      helpGroup: 'ARCHIVE',
    }),
    codec: Flags.option({
      options: ['libzstd', 'node', 'zstd-codec'] as const,
      summary: 'Which implementation compresses; the fastest that is there unless given.',
      helpGroup: 'ARCHIVE',
    })(),
    'encrypt-to': Flags.string({
      exclusive: ['base'],
      multiple: true,
      multipleNonGreedy: true,
      summary: 'Encrypt it with age, to this recipient (age1...) or those in this file; only they can read it.',
      helpValue: 'RECIPIENT',
      helpGroup: 'ARCHIVE',
    }),
    'profile-to': Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      summary:
        'Take the profile of the source along, encrypted to this recipient (as with --encrypt-to), for restore --as source.',
      helpValue: 'RECIPIENT',
      helpGroup: 'ARCHIVE',
    }),
    sign: Flags.string({
      summary: 'Sign it with this key: ed25519, as "openssl genpkey -algorithm ed25519" makes it.',
      helpValue: 'KEYFILE',
      helpGroup: 'ARCHIVE',
    }),
    ...accessFlags,
    'on-read-error': Flags.option({
      options: ['fail', 'zero'] as const,
      default: 'fail' as const,
      summary: `What becomes of sectors that cannot be read: give up, or make them zeros. Exit ${ExitCode.io} if there were any.`,
      helpGroup: 'FAULTS',
    })(),
    'source-map': Flags.string({
      summary: 'Map file of ddrescue for the source: what it does not call finished counts as unreadable.',
      helpValue: 'FILE',
      helpGroup: 'FAULTS',
    }),
    ...progressFlag,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Capture);
    const [{ planCapture }, { executeCapture }, { Zstd }, view, { readRecipients }, { readSigner }] = await Promise.all([
      import('../engine/duplicate/capture-plan.ts'),
      import('../engine/duplicate/capture.ts'),
      import('../engine/archive/zstd.ts'),
      import('../ui/capture-view.ts'),
      import('../engine/archive/age-keys.ts'),
      import('../engine/archive/signing-keys.ts'),
    ]);
    const piped = args.archive === '-';
    if (piped) refusePipe(flags.json);
    const zstd = flags.codec === undefined ? Zstd.usual() : Zstd.open(flags.codec);
    if (zstd === undefined) throw noCodec(flags.codec);
    refuseOtherName(args.archive);
    keepPrivate(args.source);
    const access = archiveAccess(flags);
    const [recipients, profileTo, signer] = await Promise.all([
      flags['encrypt-to'] && readRecipients(flags['encrypt-to']),
      flags['profile-to'] && readRecipients(flags['profile-to']),
      flags.sign === undefined ? undefined : readSigner(flags.sign),
    ]);
    const secrecy = { ...(recipients === undefined ? {} : { recipients }), ...(signer === undefined ? {} : { signer }) };
    const wantedSize = flags['segment-size'] === undefined ? undefined : segmentSizeOf(flags['segment-size']);
    const base = flags.base === undefined ? undefined : await openBase(flags.base, wantedSize, access, this.lasting);
    const segmentSize = base?.layout.segmentSize ?? wantedSize;
    const request = {
      source: args.source,
      access,
      kinds: kindChoice(flags),
      kindOverrides: kindOverrides(flags.kind),
      exact: flags.exact,
      allowInconsistent: flags['allow-inconsistent'],
      readErrors: flags['on-read-error'],
      ...(flags['source-map'] === undefined ? {} : { sourceMap: flags['source-map'] }),
      ...(segmentSize === undefined ? {} : { segmentSize }),
      ...(profileTo === undefined ? {} : { profileTo }),
    };
    const result = await this.work(flags, async (run) => {
      const plan = await planCapture(request, run);
      for (const message of plan.warnings) run.onEvent({ type: 'warning', message });
      const sink = await sinkFor(args.archive, access, run);
      const options = { zstd, level: flags.level, ...view.described(plan), ...secrecy, ...(base === undefined ? {} : { base }) };
      return { plan, ...(await executeCapture(plan, sink, options, run)) };
    }).finally(() => base?.close());
    if (piped) process.stderr.write(view.captureText(args.archive, flags.base, result));
    else
      this.show(
        flags,
        view.captureDocument(args.archive, flags.base, result),
        view.captureText(args.archive, flags.base, result),
      );
    if (result.unreadable.length > 0) this.exit(ExitCode.io);
  }
}

async function sinkFor(archive: string, { plainHttp = false }: ArchiveAccess, run: RunOptions): Promise<BlobSink> {
  if (isRegistryName(archive)) {
    const { RegistrySink } = await import('../engine/archive/registry/registry-sink.ts');
    return RegistrySink.create(parseReference(archive), { ...run, plainHttp });
  }
  const [{ DirectorySink }, { TarSink }] = await Promise.all([
    import('../engine/archive/directory.ts'),
    import('../engine/archive/tar-sink.ts'),
  ]);
  if (archive === '-') {
    const { writtenDescriptor } = await import('../engine/archive/written-back.ts');
    return TarSink.toStream('standard output', writtenDescriptor(1));
  }
  return archive.endsWith('.tar') ? TarSink.toFile(archive) : DirectorySink.create(archive);
}

/** @throws UsageError when its segments have another size; the errors of openArchive */
async function openBase(name: string, segmentSize: number | undefined, access: ArchiveAccess, run: RunOptions): Promise<Archive> {
  const { openArchive } = await import('../engine/archive/open.ts');
  const base = await openArchive(name, access, run);
  if (base.layout.salt !== undefined) {
    await base.close();
    throw new UsageError(`${name} is encrypted: what is in it can be read only together with its own layout`, {
      code: 'BASE_ENCRYPTED',
      todo: 'Leave --base away.',
    });
  }
  const size = base.layout.segmentSize;
  if (segmentSize === undefined || segmentSize === size) return base;
  await base.close();
  throw new UsageError(`${name} has segments of ${formatBytes(size)}, and --segment-size says ${formatBytes(segmentSize)}`, {
    code: 'SEGMENT_SIZE_DIFFERS',
    todo: 'Leave --segment-size away: that of the base is taken.',
  });
}

/** What names something else would become a directory of that name. @throws UsageError */
function refuseOtherName(archive: string): void {
  if (isRegistryName(archive)) return;
  const [scheme] = /^[a-z][a-z0-9+.-]*:/i.exec(archive) ?? [];
  const [ending] = /\.(tgz|tar\.\w+|img|raw|qcow2?|vmdk|vhdx?|vdi|iso|gz|xz|zst|zip)$/i.exec(archive) ?? [];
  if (scheme === undefined && ending === undefined) return;
  throw new UsageError(`${archive} is no name of an archive`, {
    code: 'BAD_ARCHIVE_NAME',
    todo: 'Write NAME.tar for a tar file, oci://HOST/REPOSITORY:TAG for a registry, or the name of a directory (./NAME, if it has a colon).',
  });
}

function refusePipe(json: boolean): void {
  if (json) {
    throw new UsageError('--json writes to standard output, and so does the archive', {
      code: 'OUTPUT_TAKEN',
      todo: 'Leave --json away, or name a file.',
    });
  }
  if (process.stdout.isTTY) {
    throw new UsageError('an archive is not written to a terminal', {
      code: 'OUTPUT_IS_TERMINAL',
      todo: 'Send it somewhere: doppel capture SOURCE - | ssh HOST "cat > golden.tar", or name a file.',
    });
  }
}

function noCodec(codec: string | undefined): UsageError {
  return new UsageError(`${codec} is not there`, {
    code: 'NO_CODEC',
    todo: 'libzstd comes with the package libzstd1 (Debian) or libzstd (RPM), "node" with Node.js 22.15. Leave --codec away.',
  });
}

function segmentSizeOf(text: string): number {
  const size = parseSize(text);
  if (size !== undefined && size >= 1 << 20 && size <= 64 << 20 && Number.isInteger(Math.log2(size))) return size;
  throw new UsageError(`--segment-size "${text}" is not understood`, {
    code: 'BAD_SEGMENT_SIZE',
    todo: 'Write a power of two from 1M to 64M, as 16M.',
  });
}
