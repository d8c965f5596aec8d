/** What names an archive in a registry, and what is said about what does not. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseReference, pinned } from '../../../../src/engine/archive/registry/reference.ts';
import { UsageError } from '../../../../src/engine/errors.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

test('host, repository, tag and digest', () => {
  for (const [text, host, repository, tag, pin] of [
    ['oci://registry.example.com/golden', 'registry.example.com', 'golden', 'latest', undefined],
    ['oci://localhost:5000/a/b-c__d.e/f:Tag_1.2-3', 'localhost:5000', 'a/b-c__d.e/f', 'Tag_1.2-3', undefined],
    [`oci://[::1]:5000/g@${digest}`, '[::1]:5000', 'g', 'latest', digest],
    [`oci://h/g:12@${digest}`, 'h', 'g', '12', digest],
  ] as const) {
    const { text: own, ...found } = parseReference(text);
    assert.is(own, text);
    assert.equal(found, { host, repository, tag, ...(pin === undefined ? {} : { digest: pin }) });
  }
});

test('pinned to a digest it names the same archive for ever', () => {
  assert.is(pinned(parseReference('oci://h:1/a/b:tag'), digest), `oci://h:1/a/b@${digest}`);
});

test('what is wrong with a name is said', () => {
  for (const [text, words] of [
    ['oci://', /host/],
    ['oci:///golden', /host/],
    ['oci://host', /repository is missing/],
    ['oci://host/', /repository is missing/],
    ['oci://host:port/golden', /host/],
    ['oci://anna:secret@host/golden', /no user and no password/],
    ['oci://host/Golden', /lower case/],
    ['oci://host/gol den', /"gol den" is no repository/],
    ['oci://host//golden', /is no repository/],
    ['oci://host/../golden', /is no repository/],
    ['oci://host/golden:', /"" is no tag/],
    ['oci://host/golden:a b', /"a b" is no tag/],
    ['oci://host/golden@sha256:123', /digest/],
    [`oci://host/golden@${digest.toUpperCase()}`, /digest/],
    [`oci://host/golden@${digest}@${digest}`, /digest/],
    ['oci://host/golden?x=1', /is no repository/],
  ] as const) {
    try {
      parseReference(text);
    } catch (error) {
      assert.instance(error, UsageError);
      assert.match((error as UsageError).message, words, text);
      continue;
    }
    throw new Error(`${text} was taken`);
  }
});

test.run();
