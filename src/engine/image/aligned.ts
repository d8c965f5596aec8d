/** Page-aligned buffers. A large Buffer sits 16 bytes off a page; WebAssembly memory starts on one. */

declare const WebAssembly: { readonly Memory: new (descriptor: { initial: number }) => { readonly buffer: ArrayBuffer } };

const WASM_PAGE = 65_536;

/** `count` buffers of `size` bytes each, all aligned to 4096 bytes when `size` is a multiple of it. Zero-filled. */
export function alignedBuffers(count: number, size: number): Uint8Array[] {
  const memory = new WebAssembly.Memory({ initial: Math.ceil((count * size) / WASM_PAGE) });
  return Array.from({ length: count }, (_, index) => new Uint8Array(memory.buffer, index * size, size));
}
