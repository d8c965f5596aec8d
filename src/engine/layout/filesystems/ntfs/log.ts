/**
 * Whether $LogFile holds changes that were not carried out yet.
 * Format: the NTFS documentation of the Linux-NTFS project, "$LogFile"; the meaning of version 2.0 as ntfs-3g describes it.
 */
import { insist, isPowerOfTwo } from '../bytes.ts';
import { applyFixups } from './record.ts';
import type { Stream } from './stream.ts';

const restartMagics = ['RSTR', 'CHKD'];
const noClient = 0xffff;
const flagClean = 0x2;
/** A log that was emptied is all ones; so much of it is looked at. */
const emptyProbe = 131072;

/** Why the log has to be replayed first; undefined when it is empty. @throws NotMappableError when that is not clear. */
export async function whyLogUnclean(log: Stream): Promise<string | undefined> {
  insist(log.size >= 4096, '$LogFile is empty');
  const head = await log.read(0, Math.min(log.size, emptyProbe));
  if (head.every((byte) => byte === 0xff)) return undefined;
  const pageBytes = head.readUInt32LE(16);
  const sane = isPowerOfTwo(pageBytes) && pageBytes >= 512 && pageBytes <= 65536 && pageBytes * 2 <= log.size;
  insist(restartMagics.includes(head.toString('latin1', 0, 4)) && sane, '$LogFile has no restart page');
  const first = restartArea(Buffer.from(await log.read(0, pageBytes)));
  const second = restartArea(Buffer.from(await log.read(pageBytes, pageBytes)));
  const { version, clean } = second.lsn > first.lsn ? second : first;
  if (version === '2.0') return 'Windows was not shut down fully (fast startup or a power cut) and keeps changes to it in memory';
  insist(version === '1.1' || version === '1.0', `the version of its $LogFile (${version}) is not known`);
  return clean ? undefined : 'its $LogFile was not replayed';
}

function restartArea(page: Buffer): { version: string; clean: boolean; lsn: bigint } {
  insist(restartMagics.includes(page.toString('latin1', 0, 4)), 'a restart page of $LogFile has no magic');
  insist(page.readUInt32LE(16) === page.length, 'the restart pages of $LogFile differ in length');
  applyFixups(page, 'a restart page of $LogFile');
  const at = page.readUInt16LE(24);
  insist(at >= 30 && at + 48 <= page.length, 'a restart page of $LogFile makes no sense');
  return {
    version: `${page.readInt16LE(28)}.${page.readInt16LE(26)}`,
    clean: page.readUInt16LE(at + 12) === noClient || (page.readUInt16LE(at + 14) & flagClean) !== 0,
    lsn: page.readBigUInt64LE(at),
  };
}
