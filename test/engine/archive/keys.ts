/** Keys for tests, as people make them: with age-keygen and openssl. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

export interface AgeKey {
  /** File with the identity. */
  readonly file: string;
  readonly recipient: string;
}

export function ageKey(folder: string, name: string): AgeKey {
  const file = join(folder, name);
  execFileSync('age-keygen', ['-o', file], { stdio: 'pipe' });
  return { file, recipient: execFileSync('age-keygen', ['-y', file], { encoding: 'utf8' }).trim() };
}

export interface SigningKey {
  /** PEM, PKCS#8. */
  readonly file: string;
  /** PEM, SPKI. */
  readonly publicFile: string;
}

export function signingKey(folder: string, name: string): SigningKey {
  const [file, publicFile] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', file], { stdio: 'pipe' });
  execFileSync('openssl', ['pkey', '-in', file, '-pubout', '-out', publicFile], { stdio: 'pipe' });
  return { file, publicFile };
}
