import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { z } from 'zod';
import { ProfileError } from '../../../src/engine/errors.ts';
import { diagnosticCodes } from '../../../src/engine/profile/diagnostic.ts';
import { jsonSchema, jsonSchemaText } from '../../../src/engine/profile/json-schema.ts';
import { checkProfile, loadProfile } from '../../../src/engine/profile/load.ts';
import { findProfile, listProfiles, searchDirectories, shippedProfiles } from '../../../src/engine/profile/search.ts';
import { failure, withFiles } from './support.ts';

const shipped = shippedProfiles();

test('every shipped profile is valid, names its schema, and fits the JSON schema too', async () => {
  const names = (await readdir(shipped)).filter((name) => name.endsWith('.yaml'));
  assert.equal(names.sort(), ['active.yaml', 'base.yaml', 'example-web.yaml', 'standby.yaml']);
  const schema = z.fromJSONSchema(jsonSchema() as never);
  for (const name of names) {
    const file = join(shipped, name);
    assert.equal(await checkProfile(file, { base: name !== 'example-web.yaml' }), [], name);
    const text = await readFile(file, 'utf8');
    assert.match(text, /^# yaml-language-server: \$schema=doppel-profile\.schema\.json\n/, name);
    assert.equal(schema.safeParse(parse(text)).error, undefined, name);
  }
});

test('the worked example is what its comments say', async () => {
  const { resolved } = await loadProfile(join(shipped, 'example-web.yaml'));
  assert.is(resolved.role, 'standby');
  assert.is(resolved.identity.fqdn, 'web-07.example.net');
  assert.equal(resolved.services.disable, ['nginx.service']);
});

test('the committed JSON schema is the current one', async () => {
  assert.is(await readFile(join(shipped, 'doppel-profile.schema.json'), 'utf8'), jsonSchemaText());
});

test('the JSON schema refuses unknown keys, and takes key+ and variables', () => {
  const schema = z.fromJSONSchema(jsonSchema() as never);
  const takes = (rest: object) => schema.safeParse({ apiVersion: 'doppel/v1', ...rest }).success;
  assert.ok(takes({ services: { enable: ['a'], 'mask+': ['b'] } }));
  assert.ok(takes({ network: { ethernets: { a: { mtu: '{{ mtu }}', dhcp4: '{{ dhcp }}' } } } }));
  assert.not.ok(takes({ network: { ethernets: { a: { mtu: 'large' } } } }));
  assert.not.ok(takes({ hots: 'x' }));
  assert.not.ok(takes({ services: { enabled: ['a'] } }));
});

test('the shipped directory is found from the sources and from a bundle', () =>
  withFiles({ 'package.json': '{}', 'dist/main.js': '', 'profiles/x.yaml': '' }, async (directory) => {
    assert.is(shippedProfiles(pathToFileURL(`${directory}/dist/main.js`).href), `${directory}/profiles`);
    assert.equal(searchDirectories(['/a', '/a/'], shipped), ['/a', '/etc/doppel/profiles', shipped]);
  }));

test('a list names every profile, what hides it, and what is wrong with it', () =>
  withFiles(
    {
      'a/site.yaml': 'apiVersion: doppel/v1\ndescription: Our site\n',
      'a/broken.yml': 'a: [',
      'a/notes.txt': '',
      'b/site.yaml': 'apiVersion: doppel/v1\n',
    },
    async (directory) => {
      const listed = await listProfiles([`${directory}/a`, `${directory}/b`], shipped);
      const own = listed.filter((profile) => profile.directory.startsWith(directory));
      assert.equal(
        own.map(({ name, description, shadowed }) => ({ name, description, shadowed })),
        [
          { name: 'broken', description: undefined, shadowed: false },
          { name: 'site', description: 'Our site', shadowed: false },
          { name: 'site', description: undefined, shadowed: true },
        ],
      );
      assert.match(own[0]?.problem ?? '', /not YAML/);
      assert.is(own[1]?.file, `${directory}/a/site.yaml`);
      assert.ok(listed.some((profile) => profile.name === 'standby' && profile.directory === shipped));
      await failure(ProfileError, () => listProfiles([`${directory}/gone`]));
    },
  ));

test('a name never leads out of the directories', async () => {
  for (const name of ['../package', '/etc/passwd', '.hidden', 'a/b', '', 'a\0b'])
    assert.is(await findProfile(name, [shipped]), undefined);
  assert.is(await findProfile('base', [shipped]), join(shipped, 'base.yaml'));
});

test('the reference explains every code and every key, and its example is valid', async () => {
  const text = await readFile(join(shipped, '..', 'docs', 'profile.md'), 'utf8');
  for (const code of Object.keys(diagnosticCodes)) assert.ok(text.includes(`\n| ${code} | `), code);
  const properties = jsonSchema().properties as Record<string, unknown>;
  for (const key of Object.keys(properties)) if (!key.endsWith('+')) assert.ok(text.includes(`\`${key}`), key);
  const example = /```yaml\n([\s\S]*?)```/.exec(text)?.[1] ?? '';
  assert.equal(await checkProfile({ file: 'example.yaml', text: example }), []);
});

test.run();
