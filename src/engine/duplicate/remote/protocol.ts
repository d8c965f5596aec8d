/**
 * What two doppels say to each other through ssh. The sender writes one line with a `ReceiveRequest`, then an archive as a tar, and
 * waits behind its layout until it has been told the plan. The receiver writes `Message`s, one a line. Both are JSON.
 */
import { z } from 'zod';
import type { ExitCode } from '../../errors.ts';
import type { EngineEvent, TargetState } from '../../events.ts';
import { bundleSchema } from '../../profile/bundle-schema.ts';
import type { Bundle, ResolvedProfile } from '../../profile/model.ts';
import { type IdentityChoice, unusedModes } from '../plan.ts';

/** Raised with every change that an older doppel would not understand. */
export const PROTOCOL = 1;

/** Bytes. */
export const LONGEST_LINE = 64 << 20;

export interface ReceiveRequest {
  readonly protocol: number;
  /** For people: which source this is. */
  readonly source: string;
  /** As its host knows it. */
  readonly target: string;
  /** Make it, with this many bytes. */
  readonly create?: number;
  readonly identity: RemoteIdentity;
  readonly expect: readonly string[];
  readonly unused: (typeof unusedModes)[number];
  readonly exact: boolean;
  readonly delta: boolean;
  readonly verify: boolean;
  readonly grow: readonly string[];
}

/** Whose identity the target gets; a profile goes over with all that it refers to. */
export interface RemoteIdentity {
  readonly choice: IdentityChoice;
  readonly replaceProfile: boolean;
  readonly profile?: {
    readonly resolved: ResolvedProfile;
    readonly source: { readonly file: string; readonly text: string };
    readonly secrets: Readonly<Record<string, string>>;
  };
  /** The source's, for `source`. */
  readonly bundle?: Bundle;
}

export type Message =
  | { readonly type: 'hello'; readonly protocol: number; readonly version: string }
  | RemotePlan
  | { readonly type: 'event'; readonly event: EngineEvent }
  | RemoteResult
  | { readonly type: 'error'; readonly error: RemoteFailure; readonly target: TargetState };

export interface RemotePlan {
  readonly type: 'plan';
  /** As of `--json`. */
  readonly document: object;
  readonly text: string;
  /** What a person compares before saying yes. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  /** Cells that the target seems to hold: where they begin, and the digests of their content. */
  readonly have: readonly (readonly [offset: number, content: string])[];
}

export interface RemoteResult {
  readonly type: 'result';
  readonly document: object;
  readonly text: string;
  readonly exitCode: ExitCode;
}

export interface RemoteFailure {
  readonly code: string;
  readonly message: string;
  readonly todo: string;
  readonly exitCode: number;
  readonly data: Readonly<Record<string, unknown>>;
}

const no = z.boolean().default(false);
const request = z.object({
  protocol: z.literal(PROTOCOL),
  source: z.string(),
  target: z.string().min(1),
  create: z.int().min(0).exactOptional(),
  identity: z.object({
    choice: z.enum(['target', 'source', 'file', 'none']),
    replaceProfile: no,
    profile: z
      .object({
        resolved: bundleSchema.shape.resolved as unknown as z.ZodType<ResolvedProfile>,
        source: z.object({ file: z.string(), text: z.string() }),
        secrets: z.record(z.string(), z.string()),
      })
      .exactOptional(),
    bundle: (bundleSchema as unknown as z.ZodType<Bundle>).exactOptional(),
  }),
  expect: z.array(z.string()),
  unused: z.enum(unusedModes),
  exact: no,
  delta: no,
  verify: z.boolean(),
  grow: z.array(z.string()),
});

/** Undefined for what is no request of this protocol. */
export function parseRequest(line: string): ReceiveRequest | undefined {
  return request.safeParse(jsonOf(line)).data;
}

/** Undefined for what no doppel has said. */
export function parseMessage(line: string): Message | undefined {
  const value = jsonOf(line) as { type?: unknown } | undefined | null;
  return typeof value?.type === 'string' ? (value as Message) : undefined;
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
