/** GPT partition types that doppel itself makes. */

/** A protected profile region. Never copied from a source, never overwritten on a target. */
export const profilePartitionType = 'F48D9BBA-69E2-4774-A6CF-FE6DBB08315B';
/** Marks a disk whose duplication has not finished; the unique GUID is the run id. */
export const incompletePartitionType = '9A96396C-B973-42C2-B29B-521D2D62F349';
export const incompletePartitionName = 'doppel-incomplete';
export const profilePartitionName = 'doppel-profile';
