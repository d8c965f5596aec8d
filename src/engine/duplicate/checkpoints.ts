/** Notes in the journal, while the copy goes on, what has become durable. */
import { DoppelError } from '../errors.ts';
import type { ByteRange, GuardedTarget } from '../image/contract.ts';
import type { DigestRecord } from '../lanes/digests.ts';
import { type Journal, JournalError } from './journal.ts';

/** Flushing costs; a run that is killed loses at most this much time. */
const EVERY_MS = 5000;

export class Checkpoints {
  readonly #target: GuardedTarget;
  readonly #onLost: (error: JournalError) => void;
  #journal: Journal | undefined;
  readonly #everyMs: number;
  #pending: DigestRecord[] = [];
  #last = performance.now();
  #running: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  /** Without a journal it only flushes; `onLost` is called when the journal cannot be written any more. */
  constructor(target: GuardedTarget, journal: Journal | undefined, onLost: (error: JournalError) => void, everyMs = EVERY_MS) {
    this.#target = target;
    this.#journal = journal;
    this.#onLost = onLost;
    this.#everyMs = everyMs;
  }

  /** A piece stands on the target; starts a checkpoint when one is due. @throws what an earlier checkpoint met */
  add(record: DigestRecord): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#journal === undefined) return;
    this.#pending.push(record);
    if (this.#running === undefined && performance.now() - this.#last >= this.#everyMs) {
      this.#running = this.#write().then(
        () => this.#done(),
        (error: unknown) => {
          this.#failure = { error };
          this.#done();
        },
      );
    }
  }

  /** Flushes the target and notes all that is durable then. */
  async finish(): Promise<void> {
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure.error;
    await this.#write();
  }

  /** After an error: makes durable what can be, and notes it; whether that went well. Afterwards target and journal can be closed. */
  async rescue(): Promise<boolean> {
    try {
      await this.finish();
      return true;
    } catch (error) {
      // What went wrong first is what people are told; what is not noted is copied again.
      if (!(error instanceof DoppelError)) throw error;
      return false;
    }
  }

  #done(): void {
    this.#running = undefined;
    this.#last = performance.now();
  }

  async #write(): Promise<void> {
    const durable = this.#pending;
    this.#pending = [];
    await this.#target.flush();
    await this.#note(async (journal) => journal.append(durable));
  }

  /** These ranges are about to be written by something else than the copy: they are not resumed from any more. */
  async markDirty(ranges: Iterable<ByteRange>): Promise<void> {
    await this.#note(async (journal) => journal.markDirty(ranges));
  }

  /** The journal is only a help: the copy goes on without it. */
  async #note(step: (journal: Journal) => Promise<void>): Promise<void> {
    if (this.#journal === undefined) return;
    try {
      await step(this.#journal);
    } catch (error) {
      if (!(error instanceof JournalError)) throw error;
      const journal = this.#journal;
      this.#journal = undefined;
      this.#pending = [];
      this.#onLost(await removed(journal, error));
    }
  }
}

/** What is left of it is true no longer: where it cannot be removed either, people are told that. */
async function removed(journal: Journal, error: JournalError): Promise<JournalError> {
  try {
    await journal.remove();
    return error;
  } catch (worse) {
    if (worse instanceof JournalError) return worse;
    throw worse;
  }
}
