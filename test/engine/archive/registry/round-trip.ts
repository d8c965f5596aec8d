/** Sends a sample to a registry, and reads it from there. */
import * as assert from 'uvu/assert';
import { Archive } from '../../../../src/engine/archive/archive.ts';
import { ArchivedDisk } from '../../../../src/engine/archive/archived-disk.ts';
import { archiveOptions } from '../../../../src/engine/archive/open.ts';
import type { ClientOptions } from '../../../../src/engine/archive/registry/client.ts';
import { parseReference } from '../../../../src/engine/archive/registry/reference.ts';
import { RegistrySink } from '../../../../src/engine/archive/registry/registry-sink.ts';
import { RegistrySource } from '../../../../src/engine/archive/registry/registry-source.ts';
import type { WrittenArchive } from '../../../../src/engine/archive/writer.ts';
import { type Sample, write } from '../samples.ts';

type Wishes = Partial<Omit<ClientOptions, 'actions'>>;

/** Nobody waits for long. */
const usual = { plainHttp: true, retries: { tries: 5, firstWait: 5, longestWait: 60_000 } };

export async function send(what: Sample, name: string, wishes: Wishes = {}): Promise<WrittenArchive> {
  const sink = await RegistrySink.create(parseReference(name), { ...usual, ...wishes });
  return write(what, sink).catch(async (error: unknown) => {
    await sink.abort();
    throw error;
  });
}

export async function opened(name: string, wishes: Wishes = {}): Promise<Archive> {
  const source = await RegistrySource.open(parseReference(name), { ...usual, ...wishes });
  return Archive.open(source, await archiveOptions()).catch(async (error: unknown) => {
    await source.close();
    throw error;
  });
}

/** Every byte of every image, and what is in it. */
export async function readAll(name: string, { layout, contents }: Sample, wishes: Wishes = {}): Promise<void> {
  for (const image of layout.images) {
    const disk = new ArchivedDisk(await opened(name, wishes), image);
    try {
      const read = new Uint8Array(image.size);
      await disk.read(read, 0);
      assert.ok(Buffer.from(contents.get(image.name) as Uint8Array).equals(read), image.name);
    } finally {
      await disk.close();
    }
  }
}

export async function failure(work: Promise<unknown>): Promise<Error> {
  return work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: Error) => error,
  );
}
