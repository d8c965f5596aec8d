/** `--expect`: what a script knows about the target that it means. */
import { UsageError } from '../errors.ts';
import type { ImageIdentity } from '../image/identity.ts';
import { CloneRefusedError } from './errors.ts';

export const expectationKeys = ['serial', 'wwn', 'size', 'host'] as const;
export interface Expectation {
  readonly key: (typeof expectationKeys)[number];
  readonly value: string;
}

/** @throws UsageError for anything but KEY=VALUE with a known key */
export function parseExpectation(text: string): Expectation {
  const [name, ...rest] = text.split('=');
  const key = expectationKeys.find((known) => known === name);
  const value = rest.join('=');
  if (key === undefined || value === '') {
    throw new UsageError(`--expect "${text}" is not understood`, {
      code: 'BAD_EXPECTATION',
      todo: `Write KEY=VALUE with one of ${expectationKeys.join(', ')}; sizes in bytes.`,
    });
  }
  if (key === 'size' && !/^\d+$/.test(value)) {
    throw new UsageError(`--expect "${text}" is not understood: the size is a number in bytes`, {
      code: 'BAD_EXPECTATION',
      todo: '"doppel inspect TARGET --json" tells the size in bytes, as do lsblk -b and stat -c %s.',
    });
  }
  return { key, value };
}

/** `host` is the name of the system that is on the target now. @throws CloneRefusedError naming the first difference */
export function checkExpectations(expected: readonly Expectation[], target: ImageIdentity, host: string | undefined): void {
  const found = { serial: target.serial, wwn: target.wwn, size: String(target.size), host };
  for (const { key, value } of expected) {
    if (found[key] === value) continue;
    throw new CloneRefusedError(
      'UNEXPECTED_TARGET',
      `${target.path} is not the expected target: its ${key} is ${found[key] ?? 'not known'}, not ${value}`,
      'Check which disk you mean. Nothing was written.',
      { key, expected: value, found: found[key] },
    );
  }
}
