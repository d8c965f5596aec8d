/** Who is let in: logins from files and programs, passwords, tokens. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LoginError, RegistryAccessError, RegistryTlsError } from '../../../../src/engine/archive/registry/errors.ts';
import { findLogin } from '../../../../src/engine/archive/registry/login.ts';
import { tempDir } from '../../../fixtures/temp.ts';
import { sample } from '../samples.ts';
import { failure, opened, readAll, send } from './round-trip.ts';
import { type Answer, front, type Registry, type Request, startRegistry } from './servers.ts';

const five = sample();
const folder = tempDir('access');
const anna = Buffer.from('anna:secret').toString('base64');
/** With a password, and without. */
let registry: Registry;
let plain: Registry;

/** Nothing of whoever runs the tests counts. */
function useOnly(env: Readonly<Record<string, string>>): void {
  for (const name of ['REGISTRY_AUTH_FILE', 'XDG_RUNTIME_DIR', 'XDG_CONFIG_HOME', 'DOCKER_CONFIG']) delete process.env[name];
  Object.assign(process.env, { HOME: folder }, env);
}

function loginFile(content: object | string): string {
  const path = join(tempDir('logins'), 'auth.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

test.before(async () => {
  [registry, plain] = await Promise.all([startRegistry({ password: true }), startRegistry()]);
});
test.after(async () => {
  await registry.stop();
  await plain.stop();
});

test('a password from a file lets in, a wrong one does not, and the file is named', async () => {
  const name = `oci://${registry.host}/guarded/golden`;
  useOnly({ REGISTRY_AUTH_FILE: loginFile({ auths: { [registry.host]: { auth: anna } } }) });
  await send(five, name);
  await readAll(name, five);
  const wrong = loginFile({ auths: { [registry.host]: { auth: Buffer.from('anna:guess').toString('base64') } } });
  useOnly({ REGISTRY_AUTH_FILE: wrong });
  const refused = await failure(opened(name));
  assert.instance(refused, RegistryAccessError);
  assert.match((refused as RegistryAccessError).todo, wrong);
  useOnly({});
  const nobody = (await failure(opened(name))) as RegistryAccessError;
  assert.instance(nobody, RegistryAccessError);
  for (const file of ['.config/containers/auth.json', '.docker/config.json']) assert.match(nobody.todo, join(folder, file));
  assert.match(nobody.todo, `docker login ${registry.host}`);
});

test('a login is not sent along to where the registry sends us', async () => {
  useOnly({ REGISTRY_AUTH_FILE: loginFile({ auths: { [registry.host]: { auth: anna } } }) });
  await send(five, `oci://${registry.host}/sent`);
  const store = await front(registry.port, () => undefined, { authorization: `Basic ${anna}` });
  const sending = await front(registry.port, ({ url }) =>
    url.includes('/blobs/') ? { status: 307, headers: { location: `http://${store.host}${url}` } } : undefined,
  );
  useOnly({ REGISTRY_AUTH_FILE: loginFile({ auths: { [sending.host]: { auth: anna } } }) });
  await readAll(`oci://${sending.host}/sent`, five);
  assert.ok(sending.asked.some(({ headers }) => headers.authorization === `Basic ${anna}`));
  assert.ok(store.asked.length > 3);
  assert.ok(store.asked.every(({ headers }) => headers.authorization === undefined));
  await store.close();
  await sending.close();
});

/** Lets in who has the token of the day, and gives that to anna. */
function tokens(host: () => string, log: string[], today: () => string): (request: Request) => Answer | undefined {
  return ({ method, url, headers }) => {
    const { pathname, searchParams } = new URL(url, 'http://here');
    if (pathname === '/token') {
      log.push(`${method} ${searchParams.getAll('scope').join('+')}`);
      if (method === 'GET' && headers.authorization !== `Basic ${anna}`) return { status: 401, body: '{}' };
      return { status: 200, body: JSON.stringify({ token: today(), expires_in: 300 }) };
    }
    if (headers.authorization === `Bearer ${today()}`) return undefined;
    const asks = `Bearer realm="http://${host()}/token",service="the registry",scope="repository:tokens:pull other:thing:read"`;
    return { status: 401, headers: { 'www-authenticate': asks } };
  };
}

test('tokens are fetched for what is to be done, and used for all', async () => {
  const log: string[] = [];
  let host = '';
  const guard = await front(
    plain.port,
    tokens(
      () => host,
      log,
      () => 'one',
    ),
  );
  host = guard.host;
  useOnly({ REGISTRY_AUTH_FILE: loginFile({ auths: { [`${host}/tokens`]: { auth: anna }, [host]: { auth: 'bm9ib2R5Ong=' } } }) });
  await send(five, `oci://${host}/tokens`);
  assert.equal(log, ['GET repository:tokens:pull,push+other:thing:read']);
  await readAll(`oci://${host}/tokens`, five);
  assert.equal(log.slice(1), Array(2).fill('GET repository:tokens:pull+other:thing:read'));
  useOnly({ REGISTRY_AUTH_FILE: loginFile({ auths: { [host]: { identitytoken: 'refresh' } } }) });
  await readAll(`oci://${host}/tokens`, five);
  assert.match(log.at(-1) as string, /^POST/);
  useOnly({});
  assert.instance(await failure(opened(`oci://${host}/tokens`)), RegistryAccessError);
  await guard.close();
});

test('a token that is not taken any more is renewed once', async () => {
  let [host, today] = ['', 'one'];
  const guard = await front(plain.port, (request) => {
    if (request.method === 'PATCH') today = 'two';
    return tokens(
      () => host,
      [],
      () => today,
    )(request);
  });
  host = guard.host;
  useOnly({ REGISTRY_AUTH_FILE: loginFile({ auths: { [host]: { auth: anna } } }) });
  const other = sample(6);
  await send(other, `oci://${host}/tokens:renewed`);
  await readAll(`oci://${host}/tokens:renewed`, other);
  assert.is(today, 'two');
  await guard.close();
});

test('a server of tokens that talks in the clear is not told a password', async () => {
  let asked = false;
  const server = await front(registry.port, ({ url }) => {
    asked ||= url.startsWith('/token');
    return { status: 401, headers: { 'www-authenticate': `Bearer realm="http://${server.host}/token"` } };
  });
  const { Authorization } = await import('../../../../src/engine/archive/registry/authorization.ts');
  const reference = { text: 'oci://h/r', host: 'h', repository: 'r', tag: 't' };
  const ask = () => Promise.reject(new Error('somebody asked'));
  const strict = new Authorization(reference, { actions: 'pull', plainHttp: false, ask });
  const error = await failure(strict.answer(`Bearer realm="http://${server.host}/token"`, undefined));
  assert.instance(error, RegistryTlsError);
  assert.not(asked);
  await server.close();
});

test('the most specific login of the first file counts, as podman and docker write them', async () => {
  const config = join(folder, '.config/containers');
  const docker = join(folder, '.docker');
  for (const path of [config, docker]) mkdirSync(path, { recursive: true });
  const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
  writeFileSync(join(config, 'auth.json'), JSON.stringify({ auths: { 'h:5000/a': auth('one:1'), 'h:5000/a/b': auth('two:2') } }));
  writeFileSync(
    join(docker, 'config.json'),
    JSON.stringify({
      auths: { 'https://h:5000/v2/': auth('three:3:3'), 'https://index.docker.io/v1/': auth('four:4'), empty: {} },
    }),
  );
  useOnly({});
  const user = async (host: string, repository: string) => {
    const { login } = await findLogin(host, repository);
    return login && 'username' in login ? `${login.username}:${login.password}` : undefined;
  };
  assert.is(await user('h:5000', 'a/b/c'), 'two:2');
  assert.is(await user('h:5000', 'a/x'), 'one:1');
  assert.is(await user('h:5000', 'b'), 'three:3:3');
  assert.is(await user('docker.io', 'b'), 'four:4');
  assert.is(await user('h', 'a'), undefined);
  assert.is(await user('empty', 'a'), undefined);
});

test('programs that keep logins are asked', async () => {
  const bin = tempDir('helpers');
  const program = (name: string, text: string): void => {
    writeFileSync(join(bin, `docker-credential-${name}`), `#!/bin/sh\nread -r host\n${text}\n`);
    chmodSync(join(bin, `docker-credential-${name}`), 0o755);
  };
  program('keeper', `[ "$1 $host" = "get h" ] && echo '{"ServerURL":"h","Username":"anna","Secret":"kept"}' && exit; exit 3`);
  program('token', `echo '{"Username":"<token>","Secret":"refresh"}'`);
  program('empty', 'echo credentials not found in native keychain; exit 1');
  program('broken', 'echo the vault is shut >&2; exit 1');
  const { PATH } = process.env;
  process.env.PATH = `${bin}:${PATH}`;
  try {
    const found = (content: object, host = 'h') => {
      useOnly({ REGISTRY_AUTH_FILE: loginFile(content) });
      return findLogin(host, 'a');
    };
    const { login } = await found({ credHelpers: { h: 'keeper' }, auths: { h: {} } });
    assert.match(JSON.stringify(login), '"username":"anna","password":"kept"');
    assert.match(JSON.stringify(await found({ credsStore: 'token' })), '"identityToken":"refresh"');
    assert.is((await found({ credsStore: 'empty' })).login, undefined);
    const broken = await failure(found({ credsStore: 'broken' }));
    assert.instance(broken, LoginError);
    assert.match(broken.message, 'the vault is shut');
    const none = await failure(found({ credsStore: 'not-installed' }));
    assert.match(none.message, /docker-credential-not-installed is not there/);
  } finally {
    process.env.PATH = PATH;
  }
});

test('a file that is none is named, and what stands in it is not shown', async () => {
  for (const text of [
    '{"auths": {"h": {"auth": "TopSecret"',
    '{"auths": {"h": "TopSecret"}}',
    '{"auths":{"h":{"auth":"VG9wU2VjcmV0"}}}',
  ]) {
    const path = loginFile(text);
    useOnly({ REGISTRY_AUTH_FILE: path });
    const error = await failure(findLogin('h', 'a'));
    assert.instance(error, LoginError);
    assert.match(error.message, path);
    assert.not.match(`${error.message} ${error.cause}`, /TopSecret|VG9w/);
  }
});

test.run();
