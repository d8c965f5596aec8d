/** Frames of every codec that there is, read by every other and by the zstd program. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FrameError, readFrame } from '../../../src/engine/archive/frame.ts';
import { codecNames, Zstd } from '../../../src/engine/archive/zstd.ts';
import { tempDir } from '../../fixtures/temp.ts';

const codecs = codecNames.flatMap((name) => Zstd.open(name) ?? []);
const folder = tempDir();
const samples: Readonly<Record<string, Uint8Array>> = {
  'one byte': new Uint8Array([7]),
  text: Buffer.from('the quick brown fox\n'.repeat(5000)),
  zeros: new Uint8Array(3 << 20),
  'random bytes': new Uint8Array(randomBytes(300_000)),
  'a segment of 8 MiB': mixed(8 << 20),
};

function mixed(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 4096)
    bytes.set(at % 12288 === 0 ? randomBytes(1024) : Buffer.from(`page ${at}`.repeat(100)), at);
  return bytes;
}

test('libzstd and zstd-codec are there', () => {
  assert.ok(Zstd.open('libzstd'));
  assert.ok(Zstd.open('zstd-codec'));
  assert.match(Zstd.usual().name, /^libzstd 1\./);
});

for (const writer of codecs) {
  for (const [what, content] of Object.entries(samples)) {
    test(`${what} by ${writer.name} is read by all others and by zstd -t`, async () => {
      const frame = await writer.compress(content, 3);
      assert.is(readFrame(frame).contentSize, content.length);
      for (const reader of codecs)
        assert.ok(Buffer.from(content).equals(await reader.decompress(frame, content.length)), reader.name);
      const file = join(folder, 'frame.zst');
      writeFileSync(file, frame);
      execFileSync('zstd', ['-q', '-t', file]);
      assert.ok(Buffer.from(content).equals(execFileSync('zstd', ['-q', '-d', '-c', file], { maxBuffer: 64 << 20 })));
    });
  }
}

test('many frames side by side, each with its own content', async () => {
  const zstd = Zstd.usual();
  const contents = Array.from({ length: 40 }, (_, i) => new Uint8Array(200_000).fill(i));
  const frames = await Promise.all(contents.map((content) => zstd.compress(content, 3)));
  const read = await Promise.all(frames.map((frame) => zstd.decompress(frame, 200_000)));
  for (const [i, content] of read.entries()) assert.ok(Buffer.from(content).equals(contents[i] as Uint8Array));
});

for (const reader of codecs) {
  test(`every flipped bit of a frame that changes the content is noticed by ${reader.name}`, async () => {
    const content = Buffer.from('0123456789abcdef'.repeat(40) + randomBytes(100).toString('hex'));
    const frame = await Zstd.usual().compress(content, 3);
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const bad = frame.slice();
      bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
      const result = await reader.decompress(bad, content.length).catch((error: unknown) => error);
      // Some bits are padding; the digest of the blob notices them.
      if (!(result instanceof FrameError)) assert.ok(content.equals(result as Uint8Array), `bit ${bit}`);
    }
  });

  test(`a frame that is cut off anywhere is noticed by ${reader.name}`, async () => {
    const content = Buffer.from(randomBytes(64));
    const frame = await Zstd.usual().compress(content, 3);
    for (let length = 0; length < frame.length; length++) {
      const error = await reader.decompress(frame.subarray(0, length), content.length).catch((reason: unknown) => reason);
      assert.instance(error, FrameError);
    }
  });
}

test('frames that an archive may not hold are refused with the reason', async () => {
  const zstd = Zstd.usual();
  const content = Buffer.from('x'.repeat(1000));
  const frame = await zstd.compress(content, 3);
  const file = join(folder, 'content');
  writeFileSync(file, content);
  const by = (...options: string[]) => execFileSync('zstd', ['-q', '-c', ...options, file]);
  const piped = execFileSync('zstd', ['-q', '-c', '--check'], { input: content });
  for (const [bad, reason] of [
    [Buffer.concat([frame, frame]), /goes on for/],
    [Buffer.concat([frame, Buffer.from('x')]), /goes on for 1 bytes/],
    [by('--no-check'), /has no checksum/],
    [piped, /does not say how large/],
    [Buffer.from('PK\u0003\u0004 and more'), /does not begin as/],
    [new Uint8Array(0), /ends after 0 bytes/],
  ] as const) {
    const error = await zstd.decompress(bad, content.length).catch((reason_: unknown) => reason_);
    assert.instance(error, FrameError);
    assert.match((error as Error).message, reason);
  }
  const wrong = await zstd.decompress(frame, 999).catch((reason: unknown) => reason);
  assert.match((wrong as Error).message, /has 1000 bytes of content instead of 999/);
});

test.run();
