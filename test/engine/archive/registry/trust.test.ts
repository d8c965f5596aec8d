/** Whose certificates are taken for a registry. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { trustedFor } from '../../../../src/engine/archive/registry/trust.ts';
import { tempDir } from '../../../fixtures/temp.ts';
import { makeCertificates } from '../../image/nbd-certificates.ts';
import { failure } from './round-trip.ts';
import { startRegistry } from './servers.ts';

test('what is kept for a registry in certs.d is trusted for it, and for no other', async () => {
  const { here, client } = makeCertificates();
  const registry = await startRegistry({ tls: here });
  const folder = tempDir('certs.d');
  mkdirSync(join(folder, registry.host));
  writeFileSync(join(folder, registry.host, 'ca.crt'), readFileSync(join(client, 'ca-cert.pem')));
  const status = (ca: string[] | undefined): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      get(`https://${registry.host}/v2/`, { agent: false, ...(ca === undefined ? {} : { ca }) }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      }).on('error', reject);
    });
  assert.is(await status(await trustedFor(registry.host, [join(folder, 'none'), folder])), 200);
  assert.is(await trustedFor('127.0.0.1:1', [folder]), undefined);
  assert.match((await failure(status(undefined))).message, /certificate/);
  await registry.stop();
});

test.run();
