/** Page-aligned buffers, as direct I/O wants them. A large Buffer sits 16 bytes off a page; WebAssembly memory starts on one. */

declare const WebAssembly: { readonly Memory: new (descriptor: { initial: number }) => { readonly buffer: ArrayBuffer } };

const WASM_PAGE = 65_536;
export const PAGE = 4096;

const aligned = new WeakSet<ArrayBufferLike>();

/** `count` buffers of `size` bytes each, all aligned to 4096 bytes when `size` is a multiple of it. Zero-filled. */
export function alignedBuffers(count: number, size: number): Uint8Array[] {
  const { buffer } = new WebAssembly.Memory({ initial: Math.ceil((count * size) / WASM_PAGE) });
  aligned.add(buffer);
  return Array.from({ length: count }, (_, index) => new Uint8Array(buffer, index * size, size));
}

/** Whether the bytes begin on a page of memory; false when nobody knows. */
export function isPageAligned(bytes: Uint8Array): boolean {
  return aligned.has(bytes.buffer) && bytes.byteOffset % PAGE === 0;
}
