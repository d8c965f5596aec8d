/** What the engine reports while it works. The engine never prints: whoever calls it passes an `OnEvent` and decides what to show. */

/** `untouched`: not a byte was written. `fenced`: it cannot boot, and the same command finishes it. `committed`: done. */
export type TargetState = 'untouched' | 'fenced' | 'committed';

export type EngineEvent =
  /** A phase begins; the one before it has ended. `phase` is a short stable name (`copy`), `title` is for people. */
  | { readonly type: 'phase'; readonly phase: string; readonly title: string }
  /** How far a phase is, in bytes; `done` never shrinks within a phase. Cheap: may be sent for every chunk. */
  | { readonly type: 'progress'; readonly phase: string; readonly done: number; readonly total: number }
  /** The target goes over into another state. Sent before the first write of the fence, and after the commit is durable. */
  | { readonly type: 'target'; readonly name: string; readonly state: TargetState }
  /** Worth telling, nothing to do about it. */
  | { readonly type: 'note'; readonly message: string }
  /** Worth telling, and somebody should look at it; the run goes on. */
  | { readonly type: 'warning'; readonly message: string };

/** Called synchronously; must not throw and must return at once. */
export type OnEvent = (event: EngineEvent) => void;

export const ignoreEvents: OnEvent = () => undefined;

/** What a long run takes from its caller. */
export interface RunOptions {
  /** Asks the run to stop; it cleans up and throws the signal's reason. */
  readonly signal?: AbortSignal;
  readonly onEvent?: OnEvent;
}
