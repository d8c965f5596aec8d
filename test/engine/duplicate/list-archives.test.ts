/** A directory with archives and other things in it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { listArchives } from '../../../src/engine/duplicate/list-archives.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { capture } from './captures.ts';
import { makeSmallDisk } from './small-disk.ts';

const folder = tempDir('list-archives');
const disks = tempDir('list-archives-disks');
const at = (name: string): string => join(folder, name);
const source = join(disks, 'source.img');

test.before(async () => {
  await makeSmallDisk(source);
  await capture(source, await DirectorySink.create(at('golden')));
  await capture(source, await TarSink.toFile(at('golden.tar')));
  await capture(source, await TarSink.toFile(at('application.tar')), { kinds: { only: ['application'] } });
  execFileSync('cp', ['-r', at('golden'), at('interrupted')]);
  rmSync(join(at('interrupted'), 'index.json'));
  execFileSync('cp', ['-r', at('golden'), at('no-manifest')]);
  const { manifests } = JSON.parse(readFileSync(join(at('golden'), 'index.json'), 'utf8'));
  rmSync(join(at('no-manifest'), 'blobs', manifests[0].digest.replace(':', '/')));
  const tar = readFileSync(at('golden.tar'));
  writeFileSync(at('cut.tar'), tar.subarray(0, tar.length >> 1));
  writeFileSync(at('going-on.tar.doppel-part'), tar.subarray(0, tar.length >> 1));
  writeFileSync(at('empty.tar'), '');
  writeFileSync(at('notes.txt'), 'of no interest');
  mkdirSync(at('folder'));
  execFileSync('mkfifo', [at('pipe.tar')]);
  symlinkSync('nowhere', at('broken.tar'));
  execFileSync('tar', ['-cf', at('backup.tar'), '-C', folder, 'notes.txt']);
  execFileSync('cp', ['-r', at('golden'), at('two')]);
  const two = JSON.parse(readFileSync(join(at('two'), 'index.json'), 'utf8'));
  const other = { ...two.manifests[0], annotations: { 'org.opencontainers.image.ref.name': 'other' } };
  writeFileSync(join(at('two'), 'index.json'), JSON.stringify({ ...two, manifests: [...two.manifests, other] }));
});

const names = (list: readonly { readonly name: string }[]): string[] => list.map(({ name }) => basename(name));

test('archives are listed with what they hold, and the rest with the reason', async () => {
  const { archives, others } = await listArchives([folder]);
  assert.equal(names(archives), ['application.tar', 'golden', 'golden.tar']);
  const [application, golden, tar] = archives;
  assert.is(golden?.system?.hostname, 'source-01');
  assert.is(golden?.digest, tar?.digest);
  assert.equal(
    golden?.parts.map(({ kind }) => kind),
    ['boot', 'os', 'swap', 'application'],
  );
  assert.equal(
    application?.parts.map(({ kind }) => kind),
    ['application'],
  );
  assert.ok(golden !== undefined && golden.stored > 0 && golden.stored < golden.data && golden.segments > 5);
  assert.equal(Object.fromEntries(others.map(({ name, what }) => [basename(name), what])), {
    'backup.tar': 'foreign',
    'cut.tar': 'damaged',
    'empty.tar': 'foreign',
    'going-on.tar.doppel-part': 'unfinished',
    interrupted: 'unfinished',
    'no-manifest': 'damaged',
    two: 'foreign',
  });
  assert.match(others.find(({ name }) => name === at('two'))?.error.message ?? '', 'it holds 2 images (latest, other)');
});

test('what is named itself has to be an archive', async () => {
  const { archives, others } = await listArchives([at('golden'), at('backup.tar'), at('nothing'), at('golden.tar')]);
  assert.equal(names(archives), ['golden', 'golden.tar']);
  assert.equal(
    others.map(({ name, what, error }) => [basename(name), what, error.code]),
    [
      ['backup.tar', 'damaged', 'NOT_AN_ARCHIVE'],
      ['nothing', 'damaged', 'ARCHIVE_IO'],
    ],
  );
});

test('a directory without archives is no mistake', async () => {
  assert.equal(await listArchives([at('folder')]), { archives: [], others: [] });
});

test.run();
