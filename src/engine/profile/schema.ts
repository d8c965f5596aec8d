/** The schema of a profile as it stands in YAML: shape and form of single values. What relates values is in cross-checks.ts. */
import * as z from 'zod';
import {
  domainName,
  fileContent,
  fileOwner,
  filePath,
  filePermissions,
  hostName,
  iqn,
  kernelArgument,
  machineId,
  moduleName,
  moduleOption,
  moduleOptionValue,
  nqn,
  passwordHash,
  secretName,
  targetName,
  unitName,
  userName,
} from './checks.ts';
import { apiVersion, sshKeyTypes } from './model.ts';
import { networkSchema } from './network-schema.ts';
import { list, mapping, object, oneOf, text, unsupported } from './schema-kit.ts';

const secretReference = object('{secret: NAME}', { secret: text('the name of an entry of secrets', secretName) });
const isMapping = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A text, or a reference to a secret. Not a union: its messages would speak of both at once. */
function textOrSecret(inline: z.ZodType<string>) {
  return z
    .unknown()
    .superRefine((value, context) => {
      const parsed = (isMapping(value) ? secretReference : inline).safeParse(value);
      for (const issue of parsed.error?.issues ?? []) context.addIssue({ ...issue } as never);
    })
    .transform((value) => value as string | { secret: string })
    .meta({ anyOf: [{ type: 'string' }, z.toJSONSchema(secretReference, { target: 'draft-7', io: 'input' })] });
}

const units = list('a list of units, as [nginx]', text('a unit name, as nginx', unitName));

const services = object('a mapping with enable, disable, mask', {
  enable: units.describe('Units that start with the system.').optional(),
  disable: units.describe('Units that do not.').optional(),
  mask: units.describe('Units that cannot be started at all.').optional(),
});

const modules = list('a list of kernel modules, as [ixgbe]', text('a kernel module name', moduleName));
const optionValue = z
  .union([z.string(), z.int(), z.boolean()], {
    error: 'E030 an option is text, a whole number, true or false; put other numbers in quotes',
  })
  .superRefine((value, context) => {
    const finding = typeof value === 'string' ? moduleOptionValue(value) : undefined;
    if (finding !== undefined) context.addIssue({ code: 'custom', message: `${finding.code} ${finding.message}` });
  });
const drivers = object('a mapping with load, blacklist, options', {
  load: modules.describe('Modules loaded at start.').optional(),
  blacklist: modules.describe('Modules never loaded by themselves.').optional(),
  options: mapping(
    'a mapping of modules',
    moduleName,
    mapping('a mapping of options, as {allow_unsupported_sfp: 1}', moduleOption, optionValue),
  ).optional(),
  initramfs: unsupported('drivers.initramfs').optional(),
});

const plainPassword = z
  .unknown()
  .superRefine((_, context) => {
    const message = 'E018 a password stands in the YAML; write hashed_passwd with a crypt hash, or {secret: NAME}';
    context.addIssue({ code: 'custom', message });
  })
  .meta({ description: 'Refused: write hashed_passwd.', deprecated: true });
const users = list(
  'a list of users, as [{name: root, hashed_passwd: {secret: rootHash}}]',
  object('a mapping with name and hashed_passwd', {
    name: text('a user name', userName),
    hashed_passwd: textOrSecret(text('a crypt hash in quotes, or {secret: NAME}', passwordHash, 'E023')),
    plain_text_passwd: plainPassword.optional(),
    passwd: plainPassword.optional(),
    password: plainPassword.optional(),
  }),
);

const writeFiles = list(
  'a list of files, as [{path: /etc/motd, content: hello}]',
  object('a mapping with path and content', {
    path: text('an absolute path', filePath, 'E019'),
    owner: text('user or user:group', fileOwner).optional(),
    permissions: text('an octal mode in quotes, as "0644"', filePermissions, 'E020').optional(),
    content: textOrSecret(text('the text of the file, or {secret: NAME}', fileContent)),
  }),
);

const secret = z
  .unknown()
  .superRefine((value, context) => {
    const inline = 'E018 a secret may not stand in the YAML; put it into a root-owned file and write {file: /path}';
    const keys = isMapping(value) ? Object.keys(value as object) : [];
    if (!isMapping(value) || keys.some((key) => ['value', 'content', 'text', 'data'].includes(key))) {
      context.addIssue({ code: 'custom', message: inline });
      return;
    }
    for (const issue of secretFile.safeParse(value).error?.issues ?? []) context.addIssue({ ...issue } as never);
  })
  .transform((value) => value as { file: string })
  .meta({ type: 'object', properties: { file: { type: 'string' } }, required: ['file'], additionalProperties: false });
const secretFile = object('{file: /path}', { file: text('the absolute path of a root-owned file', filePath, 'E019') });

const uuids = object('a mapping with filesystems and partitions', {
  filesystems: keepOnly('identity.uuids.filesystems').optional(),
  partitions: keepOnly('identity.uuids.partitions').optional(),
});
function keepOnly(what: string) {
  return oneOf(['keep', 'regenerate']).superRefine((value, context) => {
    if (value === 'keep') return;
    context.addIssue({ code: 'custom', message: `E029 ${what}: ${value} is not supported yet by this version; write keep` });
  });
}

/** Settings that a role may have, and the profile's top level too. */
const roleSettings = {
  target: text('the target unit to start, as multi-user.target', targetName).optional(),
  services: services.optional(),
  drivers: drivers.optional(),
  kernelCmdline: unsupported('kernelCmdline', (value, context) => {
    for (const [key, argument] of stringsIn(value)) {
      const finding = kernelArgument(argument);
      if (finding !== undefined)
        context.addIssue({ code: 'custom', path: [...key], message: `${finding.code} ${finding.message}` });
    }
  }).optional(),
  users: users.optional(),
  write_files: writeFiles.optional(),
};

function nameForm(check: typeof iqn) {
  return (value: unknown, context: z.RefinementCtx) => {
    for (const [key, name] of stringsIn(value)) {
      if (key.at(-1) === 'hostid') continue;
      const finding = check(name);
      if (finding !== undefined)
        context.addIssue({ code: 'custom', path: [...key], message: `${finding.code} ${finding.message}` });
    }
  };
}

function stringsIn(value: unknown, path: readonly PropertyKey[] = []): (readonly [readonly PropertyKey[], string])[] {
  if (typeof value === 'string') return [[path, value]];
  if (Array.isArray(value)) return value.flatMap((item, index) => stringsIn(item, [...path, index]));
  if (!isMapping(value)) return [];
  return Object.entries(value as object).flatMap(([key, item]) => stringsIn(item, [...path, key]));
}

export const profileSchema = object('a mapping that begins with "apiVersion: doppel/v1"', {
  apiVersion: z.literal(apiVersion, { error: `E030 apiVersion must be ${apiVersion}` }),
  description: text('a sentence for "doppel profile list"').optional(),
  extends: z
    .union([z.string(), z.array(z.string())], { error: 'E030 extends is the name of a base profile, or a list of names' })
    .optional(),
  host: text('the name of this machine', hostName, 'E002').optional(),
  vars: z
    .record(
      z.string(),
      z.union([z.string(), z.number(), z.boolean()], { error: 'E030 a variable is text, a number, true or false' }),
      { error: 'E030 vars is a mapping, as {ip: 10.20.0.17}' },
    )
    .optional(),
  identity: object('a mapping with hostname, fqdn, machineId, sshHostKeys', {
    hostname: text('a host name', hostName, 'E002').optional(),
    fqdn: text('a full domain name', domainName, 'E002').optional(),
    machineId: text('generate, derive, keep or 32 hex digits in quotes', machineId, 'E003').optional(),
    sshHostKeys: object('a mapping with mode and types', {
      mode: oneOf(['generate', 'keep']).optional(),
      types: list('a list of key types, as [ed25519, rsa]', oneOf(sshKeyTypes)).optional(),
    }).optional(),
    iscsi: unsupported('identity.iscsi', nameForm(iqn)).optional(),
    nvme: unsupported('identity.nvme', nameForm(nqn)).optional(),
    uuids: uuids.optional(),
  }).optional(),
  network: networkSchema.optional(),
  role: text('the name of one of roles').optional(),
  roles: z
    .record(z.string(), object('a mapping of settings', roleSettings), { error: 'E030 roles is a mapping of roles' })
    .optional(),
  secrets: mapping('a mapping of secrets, as {rootHash: {file: /run/secrets/root.hash}}', secretName, secret).optional(),
  ...roleSettings,
});
export type ProfileInput = z.output<typeof profileSchema>;
export const roleKeys = Object.keys(roleSettings);
