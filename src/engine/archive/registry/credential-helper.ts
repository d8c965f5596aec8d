/** Programs that keep logins: `docker-credential-NAME get` takes a host on its standard input and answers with JSON. Protocol: docker-credential-helpers. */
import { z } from 'zod';
import { LoginError } from './errors.ts';
import type { Login } from './login.ts';

const answerSchema = z.object({ Username: z.string(), Secret: z.string() });

/** As the programs say it. */
const NOT_FOUND = 'credentials not found';
/** Stands for a user where the secret is a token. */
const TOKEN_USER = '<token>';
/** Milliseconds. */
const PATIENCE = 60_000;

/** Undefined when it knows none for the host. `file` is where the program is named. @throws LoginError */
export async function loginFromHelper(name: string, host: string, file: string): Promise<Login | undefined> {
  const program = `docker-credential-${name}`;
  const { execa } = await import('execa');
  const { failed, stdout, stderr, shortMessage, code } = await execa(program, ['get'], {
    input: host,
    reject: false,
    timeout: PATIENCE,
    maxBuffer: 1 << 20,
  });
  if (code === 'ENOENT')
    throw new LoginError(`the program ${program}`, `is not there, and ${file} says that it has the logins`, 'Install it.');
  if (failed) {
    const said = `${stdout}\n${stderr}`.trim();
    if (said.toLowerCase().includes(NOT_FOUND)) return undefined;
    throw new LoginError(`the program ${program}`, `failed: ${said || shortMessage}`, `It is named in ${file}.`);
  }
  const answer = parsed(stdout);
  if (answer === undefined)
    throw new LoginError(`the program ${program}`, 'answered something else than a login', `It is named in ${file}.`);
  const from = `${program} (named in ${file})`;
  return answer.Username === TOKEN_USER
    ? { from, identityToken: answer.Secret }
    : { from, username: answer.Username, password: answer.Secret };
}

function parsed(text: string): z.infer<typeof answerSchema> | undefined {
  try {
    return answerSchema.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
