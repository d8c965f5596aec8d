/** Waits until none is under way any more: what they work on can be closed then. @throws the first one's error, in their order */
export async function allSettled(work: readonly Promise<void>[]): Promise<void> {
  for (const each of await Promise.allSettled(work)) if (each.status === 'rejected') throw each.reason;
}
