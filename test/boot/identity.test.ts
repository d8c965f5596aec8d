import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseIdentity, told, toldAddresses, toldFingerprints } from './identity.ts';

const log = [
  'Welcome to GRUB!',
  'IDENTITY-BEGIN',
  'hostname=web-07',
  '[    9.1] a message of the kernel with name=value',
  'sshkey=256 SHA256:bbb root@web-07 (ED25519)',
  'sshkey=3072 SHA256:aaa root@web-07 (RSA)',
  'ip=enp0s2 198.51.100.17/24',
  'units-failed=',
  'IDENTITY-END',
  '',
].join('\r\n');

test('names and values are read from a serial log, with several values of one name', () => {
  const identity = parseIdentity(log);
  assert.ok(identity);
  assert.is(told(identity, 'hostname'), 'web-07');
  assert.is(told(identity, 'units-failed'), '');
  assert.is(told(identity, 'machine-id'), undefined);
  assert.is(identity.size, 4);
  assert.equal(toldFingerprints(identity), ['SHA256:aaa', 'SHA256:bbb']);
  assert.equal(toldAddresses(identity), ['198.51.100.17/24']);
});

test('a log without a whole block tells nothing', () => {
  assert.is(parseIdentity(''), undefined);
  assert.is(parseIdentity(log.replace('IDENTITY-END', '')), undefined);
  assert.is(parseIdentity(log.replace('IDENTITY-BEGIN', '')), undefined);
});

test.run();
