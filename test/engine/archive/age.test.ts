/** Files of age, written and read by doppel, by age itself, and by its library. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { armor, Encrypter } from 'age-encryption';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AgeError, decryptWith, encryptTo, isAge, NoIdentityError } from '../../../src/engine/archive/age.ts';
import { readIdentities, readRecipients } from '../../../src/engine/archive/age-keys.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { flipped } from './forged.ts';
import { ageKey } from './keys.ts';

const folder = tempDir('age');
const [own, other] = [ageKey(folder, 'own.txt'), ageKey(folder, 'other.txt')];
const identities = await readIdentities([own.file]);
const KiB = 1 << 10;
/** At the edges of the chunks. */
const sizes = [0, 1, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1, 128 * KiB, 300 * KiB];

async function problem(action: () => Promise<unknown>): Promise<Error> {
  try {
    await action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('it went well');
}

test('age reads what is written, and the other way round, whatever its size', async () => {
  for (const size of sizes) {
    const content = randomBytes(size);
    const ours = join(folder, 'ours.age');
    writeFileSync(ours, await encryptTo([own.recipient], content));
    assert.ok(execFileSync('age', ['-d', '-i', own.file, ours]).equals(content), `${size}`);
    const theirs = execFileSync('age', ['-e', '-r', own.recipient], { input: content });
    assert.ok(isAge(theirs));
    assert.ok(content.equals(await decryptWith(identities, theirs)), `${size}`);
  }
});

test('each of several recipients can read it, and nobody else', async () => {
  const file = await encryptTo([own.recipient, other.recipient], Buffer.from('for two'));
  for (const key of [own, other])
    assert.is(Buffer.from(await decryptWith(await readIdentities([key.file]), file)).toString(), 'for two');
  const third = await readIdentities([ageKey(folder, 'third.txt').file]);
  assert.instance(await problem(() => decryptWith(third, file)), NoIdentityError);
  assert.is(Buffer.from(await decryptWith([...third, ...identities], file)).toString(), 'for two');
});

test('every changed byte of a file is noticed', async () => {
  const file = Buffer.from(await encryptTo([own.recipient], randomBytes(70 * KiB)));
  const header = file.indexOf('\n--- ') + 60;
  const places = [...Array(header + 40).keys(), ...Array.from({ length: 60 }, (_, i) => header + i * 1201), file.length - 1];
  for (const at of places)
    for (const bit of [1, 0x20, 0x80])
      assert.instance(await problem(() => decryptWith(identities, flipped(file, at, bit))), AgeError, `byte ${at}`);
});

test('a file that is cut off anywhere, or goes on, or whose chunks were moved is noticed', async () => {
  const file = Buffer.from(await encryptTo([own.recipient], randomBytes(192 * KiB)));
  const payload = file.length - 3 * (64 * KiB + 16);
  const chunk = (i: number): Buffer => file.subarray(payload + i * (64 * KiB + 16), payload + (i + 1) * (64 * KiB + 16));
  const cuts = [
    ...Array(payload + 40).keys(),
    payload + 64 * KiB,
    file.length - chunk(2).length,
    file.length - 16,
    file.length - 1,
  ];
  for (const bad of [
    ...cuts.map((length) => file.subarray(0, length)),
    Buffer.concat([file, Buffer.alloc(1)]),
    Buffer.concat([file, Buffer.alloc(16)]),
    Buffer.concat([file, chunk(2)]),
    Buffer.concat([file.subarray(0, payload), chunk(1), chunk(0), chunk(2)]),
    Buffer.concat([file.subarray(0, payload), chunk(0), chunk(2)]),
  ])
    assert.instance(await problem(() => decryptWith(identities, bad)), AgeError, `${bad.length} bytes`);
});

test('recipients come one by one and in files, as age takes them', async () => {
  const list = join(folder, 'recipients.txt');
  writeFileSync(list, `# the two of us\n${own.recipient}\n\n  ${other.recipient}\r\n`);
  assert.equal(await readRecipients([list, own.recipient]), [own.recipient, other.recipient, own.recipient]);
});

test('what is no key is refused with what to do, and no secret is repeated', async () => {
  const file = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const secret = readFileSync(own.file, 'utf8').match(/AGE-SECRET-KEY-1\S+/)?.[0] as string;
  const locked = new Encrypter();
  locked.setScryptWorkFactor(2);
  locked.setPassphrase('horse');
  const lockedKey = await locked.encrypt(secret);
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'ssh')]);
  const wrong = `${secret.slice(0, -1)}${secret.endsWith('Q') ? 'P' : 'Q'}`;
  for (const [what, action, expected] of [
    ['a passphrase', () => readIdentities([file('locked.age', lockedKey)]), /protected by a passphrase.*age -d .*locked\.age/s],
    ['armor', () => readIdentities([file('armored.age', armor.encode(lockedKey))]), /protected by a passphrase/],
    ['a key of ssh', () => readIdentities([join(folder, 'ssh')]), /line 1 of .*ssh is no identity.*Keys of ssh/s],
    ['an identity on the command line', () => readIdentities([secret]), /secret key itself.*command line/s],
    ['a wrong identity', () => readIdentities([file('wrong.txt', wrong)]), /line 1 of .*wrong\.txt is no identity/],
    ['nothing', () => readIdentities([file('empty.txt', '# nothing\n')]), /holds no identity/],
    ['a file that is not there', () => readIdentities([join(folder, 'none')]), /reading .*none failed/],
    ['a recipient', () => readRecipients([`${own.recipient}x`]), /no recipient of age/],
    ['a recipient of ssh', () => readRecipients([join(folder, 'ssh.pub')]), /line 1 of .*ssh\.pub is no recipient/],
    ['an identity as a recipient', () => readRecipients([secret]), /secret key itself.*age-keygen -y/s],
    ['an identity in a file of recipients', () => readRecipients([own.file]), /secret key itself.*age-keygen -y .*own\.txt/s],
    ['an empty file of recipients', () => readRecipients([file('nobody.txt', '\n')]), /holds no recipient/],
    ['a large file', () => readRecipients([file('large.txt', Buffer.alloc(2 << 20))]), /too large/],
  ] as const) {
    const error = (await problem(action)) as Error & { readonly todo: string; readonly data: object };
    const told = JSON.stringify([error.message, error.todo, error.data, (error.cause as Error | undefined)?.message]);
    assert.match(`${error.message}\n${error.todo}`, expected, what);
    assert.not.match(told, secret.slice(16, 50), what);
  }
});

test.run();
