// Resolves `uvu` to the wrapper that counts, and everything of uvu from here, so that a test file may lie anywhere.
const wrapper = new URL('./counted-uvu.ts', import.meta.url).href;

export async function resolve(specifier, context, next) {
  if (specifier === 'uvu' && context.parentURL !== wrapper) return { url: wrapper, format: 'module', shortCircuit: true };
  if (specifier === 'uvu' || specifier.startsWith('uvu/')) return next(specifier, { ...context, parentURL: import.meta.url });
  return next(specifier, context);
}
