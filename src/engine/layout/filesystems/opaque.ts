/** Why some formats have no map of used blocks and never can have one from a single part of a disk: sentences for people. */

const encrypted = 'it is encrypted: without its key nobody can tell which blocks hold something';
const raid = 'it is a member of a RAID: only the assembled array knows which blocks hold something';

const reasons: ReadonlyMap<string, string> = new Map([
  ['crypto_LUKS', encrypted],
  ['BitLocker', encrypted],
  ['linux_raid_member', raid],
  ['isw_raid_member', raid],
  ['zfs_member', 'it is a member of a ZFS pool: only the whole pool knows which blocks hold something'],
  ['bcache', 'it is part of a cache: which blocks hold something is known only inside of it'],
  ['drbd', 'it is replicated by DRBD: which blocks hold something is known only inside of it'],
]);

/** The reason for a type as blkid names it, with that name; undefined for types that could have a map. */
export function whyOpaque(type: string): string | undefined {
  const reason = reasons.get(type);
  return reason && `${type}: ${reason}`;
}
