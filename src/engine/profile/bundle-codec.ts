/** A bundle as bytes: JSON, zlib-compressed (RFC 1950); and as something that may be shown. */
import { createHash } from 'node:crypto';
import { deflateSync, inflateSync } from 'node:zlib';
import { BundleCorruptError, BundleNewerError, BundleTooLargeError } from './bundle-errors.ts';
import { bundleSchema } from './bundle-schema.ts';
import type { Bundle } from './model.ts';
import { decodeUtf8 } from './search.ts';

/** Bytes of JSON that a reader takes. */
const maxBundleBytes = 16_777_216;
/** Values in it: ten times as many as a profile may have. Parsed, each takes many times its text. */
const maxValues = 500_000;
const maxDepth = 64;

/** @throws BundleTooLargeError */
export function encodeBundle(bundle: Bundle): Uint8Array {
  const json = Buffer.from(JSON.stringify(bundle));
  if (json.length > maxBundleBytes) throw new BundleTooLargeError(json.length, maxBundleBytes);
  return deflateSync(json, { level: 9 });
}

/** @throws BundleCorruptError, BundleNewerError */
export function decodeBundle(bytes: Uint8Array): Bundle {
  const data = parse(bytes);
  const format = typeof data === 'object' && data !== null && 'format' in data ? data.format : undefined;
  if (typeof format === 'number' && format > 1) throw new BundleNewerError(format);
  const result = bundleSchema.safeParse(data);
  if (result.success) return result.data as Bundle;
  const [issue] = result.error.issues;
  throw new BundleCorruptError(`${issue?.path.join('.') || 'the whole'}: ${issue?.message ?? 'not a bundle'}`, result.error);
}

function parse(bytes: Uint8Array): unknown {
  const json = inflate(bytes);
  if (isTooRich(json))
    throw new BundleCorruptError(`it has more than ${maxValues} values, or more than ${maxDepth} levels of them`);
  const text = decodeUtf8(json);
  if (text === undefined) throw new BundleCorruptError('it is not UTF-8 text');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new BundleCorruptError('it is not JSON', error);
  }
}

/** Counts commas and brackets outside of strings, so that nothing is made of them first. O(n). */
function isTooRich(json: Uint8Array): boolean {
  let [values, depth, inString] = [0, 0, false];
  for (let at = 0; at < json.length && values <= maxValues && depth <= maxDepth; at++) {
    const byte = json[at];
    if (byte === 0x22) inString = !inString;
    else if (inString) at += byte === 0x5c ? 1 : 0;
    else if (byte === 0x2c) values++;
    else if (byte === 0x5b || byte === 0x7b) {
      values++;
      depth++;
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return values > maxValues || depth > maxDepth;
}

function inflate(bytes: Uint8Array): Uint8Array {
  try {
    return inflateSync(bytes, { maxOutputLength: maxBundleBytes });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') throw new BundleCorruptError(`it unpacks to more than ${maxBundleBytes} bytes`, error);
    throw new BundleCorruptError(`it does not unpack (${message})`, error);
  }
}

/** `<redacted sha256:1a2b3c4d>`: equal for equal secrets, so that two bundles can be compared. */
export function redact(secret: string): string {
  return `<redacted sha256:${createHash('sha256').update(secret).digest('hex').slice(0, 8)}>`;
}

/** The bundle with private keys, secrets and password hashes replaced, also where the YAML text holds them. */
export function redactBundle(bundle: Bundle): Bundle {
  // `*` and `!` are no secrets.
  const hashes = bundle.resolved.users.flatMap(({ hashedPassword }) =>
    typeof hashedPassword === 'string' && hashedPassword.length > 2 ? [hashedPassword] : [],
  );
  return {
    ...bundle,
    source: { ...bundle.source, text: redactText(bundle.source.text, hashes) },
    resolved: {
      ...bundle.resolved,
      users: bundle.resolved.users.map((user) =>
        hashes.includes(user.hashedPassword as string)
          ? { ...user, hashedPassword: redact(user.hashedPassword as string) }
          : user,
      ),
    },
    secrets: Object.fromEntries(Object.entries(bundle.secrets).map(([name, value]) => [name, redact(value)])),
    generated: {
      ...bundle.generated,
      sshHostKeys: bundle.generated.sshHostKeys.map((key) => ({ ...key, privateKey: redact(key.privateKey) })),
    },
  };
}

/** Any crypt hash, wherever it stands: in vars, in comments, of roles that were not chosen. */
const anyHash = /\$(?:g?y|7|6|5|2[abxy]|1)\$[^\s"',\]}]+/g;

function redactText(text: string, hashes: readonly string[]): string {
  // A hash that is folded over lines or put together from variables is there in pieces: then nothing of the text is shown.
  if (hashes.some((hash) => !text.includes(hash) && pieces(hash).some((piece) => text.includes(piece)))) return redact(text);
  const known = hashes.reduce((result, hash) => result.replaceAll(hash, redact(hash)), text);
  return known.replace(anyHash, redact);
}

/** Every 8 characters in a row of the part behind the salt. */
function pieces(hash: string): string[] {
  const digest = hash.slice(hash.lastIndexOf('$') + 1);
  return Array.from({ length: Math.max(0, digest.length - 7) }, (_, i) => digest.slice(i, i + 8));
}
