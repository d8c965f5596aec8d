/** Archives in directories, changed by somebody who knows the format: whatever names what was changed names what it is now. */
import { createHash } from 'node:crypto';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Layer {
  mediaType: string;
  digest: string;
  size: number;
  annotations: Record<string, string>;
}

export interface ForgedManifest {
  config: Layer;
  layers: Layer[];
  annotations: Record<string, string>;
}

export const blobIn = (archive: string, digest: string): string => join(archive, 'blobs', digest.replace(':', '/'));

/** Of the one descriptor in its index. */
export function topOf(archive: string): Layer {
  return JSON.parse(readFileSync(join(archive, 'index.json'), 'utf8')).manifests[0];
}

export function manifestOf(archive: string): ForgedManifest {
  return JSON.parse(readFileSync(blobIn(archive, topOf(archive).digest), 'utf8'));
}

/** Changes the bytes of the document that names everything else. */
export function forgeTop(archive: string, copy: string, change: (bytes: Buffer) => Buffer): string {
  cpSync(archive, copy, { recursive: true });
  replaceTop(copy, change(readFileSync(blobIn(copy, topOf(copy).digest))));
  return copy;
}

export function replaceTop(archive: string, bytes: Uint8Array): void {
  const top = { ...topOf(archive), ...store(archive, bytes) };
  writeFileSync(join(archive, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [top] }));
}

export function forgeManifest(archive: string, copy: string, change: (manifest: ForgedManifest) => void): string {
  return forgeTop(archive, copy, (bytes) => {
    const manifest: ForgedManifest = JSON.parse(bytes.toString());
    change(manifest);
    return Buffer.from(JSON.stringify(manifest));
  });
}

/** Changes the bytes of a layer, by its place among them. */
export function forgeLayer(archive: string, copy: string, place: number, change: (bytes: Buffer) => Uint8Array): string {
  const { digest } = manifestOf(archive).layers[place] as Layer;
  const bytes = change(readFileSync(blobIn(archive, digest)));
  forgeManifest(archive, copy, ({ layers }) => Object.assign(layers[place] as Layer, nameOf(bytes)));
  store(copy, bytes);
  return copy;
}

function nameOf(bytes: Uint8Array): { readonly digest: string; readonly size: number } {
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, size: bytes.length };
}

/** A blob, and how a descriptor names it. */
export function store(archive: string, bytes: Uint8Array): ReturnType<typeof nameOf> {
  const name = nameOf(bytes);
  writeFileSync(blobIn(archive, name.digest), bytes);
  return name;
}

/** With one bit of a byte flipped. */
export function flipped(bytes: Buffer, at: number, bit = 1): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] as number) ^ bit;
  return copy;
}
