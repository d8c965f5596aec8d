/** Where a problem that only the target knows is shown in the profile. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeBundle } from '../../../src/engine/profile/bundle.ts';
import { loadProfile } from '../../../src/engine/profile/load.ts';
import { placeInSource } from '../../../src/engine/profile/source-place.ts';

const text = `apiVersion: doppel/v1
host: web-07
extends: [base]
identity:
  machineId: 0123456789abcdef0123456789abcdef
  sshHostKeys: {mode: generate, types: [ed25519]}
services:
  enable: [nginx]
role: web
roles:
  web:
    services:
      enable+: [postgresql]
      mask: [cron]
`;
const loaded = await loadProfile({ file: 'web.yaml', text });
const bundle = await makeBundle(loaded);

function where(...path: (string | number)[]): string {
  const place = placeInSource(bundle, path);
  return place === undefined ? 'nowhere' : `${place.line}:${place.column}`;
}

test('an item of a list is found where it stands, also when a role appended it', () => {
  const { enable, mask } = bundle.resolved.services;
  assert.is(where('services', 'enable', enable.indexOf('nginx.service')), '8:12');
  assert.is(where('services', 'enable', enable.indexOf('postgresql.service')), '13:17');
  assert.is(where('services', 'mask', mask.indexOf('cron.service')), '14:14');
});

test('a single value is found by its key', () => {
  assert.is(where('identity', 'machineId'), '5:3');
});

test('what was not written in the profile itself has no place', () => {
  assert.is(where('target'), 'nowhere');
});

test.run();
