import { test } from 'uvu';
import type { ImageTarget } from '../../../src/engine/image/contract.ts';
import { openTarget } from '../../../src/engine/image/open.ts';
import { type TargetAdapter, testTarget } from './conformance.ts';
import { nbdkit } from './nbd-servers.ts';

const MiB = 1 << 20;
const size = 4 * MiB + 512;

function served(name: string, args: readonly string[], more: Partial<TargetAdapter> = {}): TargetAdapter {
  return {
    name,
    size,
    holes: true,
    bypass: ['none'],
    async open(content) {
      const server = await nbdkit(...args);
      const image = await openTarget(server.uri);
      await image.write(content, 0);
      await zeroHoles(image, content);
      return { image, dispose: () => server.stop() };
    },
    ...more,
  };
}

/** Whole pages of zeros become holes, as in a sparse file. */
async function zeroHoles(image: ImageTarget, content: Uint8Array): Promise<void> {
  const page = 32 << 10;
  for (let at = 0; at + page <= content.length; at += page) {
    if (content.subarray(at, at + page).every((byte) => byte === 0)) await image.zero(at, page);
  }
}

testTarget(served('a server of memory', ['memory', String(size)]));
testTarget(
  served('a server of whole blocks', [
    '--filter=blocksize-policy',
    'memory',
    String(size),
    'blocksize-minimum=512',
    'blocksize-preferred=4096',
    'blocksize-error-policy=error',
  ]),
);
testTarget(
  served(
    'a server that knows little',
    ['--filter=noextents', '--filter=nozero', '--filter=multi-conn', 'memory', String(size), 'multi-conn-mode=disable'],
    { holes: false },
  ),
);

test.run();
