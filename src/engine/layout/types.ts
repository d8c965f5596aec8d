/** GPT partition types that doppel itself makes. */

/** A protected profile region. Never copied from a source, never overwritten on a target. */
export const profilePartitionType = '0F7A4DC1-96E3-4B53-A6D2-7A3C8E1B5D90';
/** Marks a disk whose duplication has not finished; the unique GUID is the run id. */
export const incompletePartitionType = '3B8E52F4-1D07-4C6A-9A41-C5E90D2F7B16';
export const incompletePartitionName = 'doppel-incomplete';
export const profilePartitionName = 'doppel-profile';
