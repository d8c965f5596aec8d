/**
 * The form of a stored bundle. It was valid when it was written, but it comes from a disk and is applied as root: the same checks
 * of single values run again. A new key means a new `format`, so unknown keys are damage.
 */
import * as z from 'zod';
import {
  type Check,
  domainName,
  driverPattern,
  fileOwner,
  filePath,
  hostName,
  interfaceAddress,
  interfaceId,
  interfaceName,
  interfacePattern,
  ipAddress,
  isMachineId,
  macAddress,
  machineId,
  moduleName,
  moduleOption,
  moduleOptionValue,
  passwordHash,
  routeTarget,
  searchDomain,
  secretName,
  targetName,
  unitName,
  userName,
} from './checks.ts';
import { isTargetId } from './header.ts';
import { isHostKey } from './host-keys.ts';
import { apiVersion, sshKeyTypes } from './model.ts';
import { bondModes } from './network-schema.ts';

const checked = (check: Check) =>
  z.string().superRefine((value, context) => {
    const finding = check(value);
    if (finding !== undefined) context.addIssue({ code: 'custom', message: `${finding.code} ${finding.message}` });
  });
const named = <Value extends z.ZodType>(check: Check, value: Value) => z.record(checked(check), value);
const strings = (check: Check) => z.array(checked(check));
const secret = z.strictObject({ secret: checked(secretName) });

const common = {
  dhcp4: z.boolean(),
  dhcp6: z.boolean(),
  addresses: strings(interfaceAddress),
  routes: z.array(
    z.strictObject({
      to: checked(routeTarget),
      via: checked(ipAddress).optional(),
      metric: z.int().min(0).max(4_294_967_295).optional(),
      onLink: z.boolean(),
    }),
  ),
  nameservers: z.strictObject({ addresses: strings(ipAddress), search: strings(searchDomain) }),
  mtu: z.int().min(68).max(65_536).optional(),
  macaddress: checked(macAddress).optional(),
  optional: z.boolean(),
  acceptRa: z.boolean().optional(),
};

const network = z.strictObject({
  version: z.literal(2),
  renderer: z.enum(['networkd', 'NetworkManager']).optional(),
  ethernets: named(
    interfaceId,
    z.strictObject({
      ...common,
      match: z
        .strictObject({
          macaddress: checked(macAddress).optional(),
          name: checked(interfacePattern).optional(),
          driver: checked(driverPattern).optional(),
        })
        .optional(),
      setName: checked(interfaceName).optional(),
    }),
  ),
  vlans: named(interfaceName, z.strictObject({ ...common, id: z.int().min(0).max(4094), link: checked(interfaceId) })),
  bonds: named(
    interfaceName,
    z.strictObject({
      ...common,
      interfaces: strings(interfaceId),
      mode: z.enum(bondModes).optional(),
      primary: checked(interfaceId).optional(),
      miimon: z.int().min(0).max(600_000).optional(),
    }),
  ),
  bridges: named(interfaceName, z.strictObject({ ...common, interfaces: strings(interfaceId), stp: z.boolean().optional() })),
});

const optionValue = z.union([checked(moduleOptionValue), z.int(), z.boolean()]);

const resolved = z.strictObject({
  apiVersion: z.literal(apiVersion),
  host: checked(hostName),
  identity: z.strictObject({
    hostname: checked(hostName),
    fqdn: checked(domainName).optional(),
    machineId: checked(machineId),
    sshHostKeys: z.strictObject({ mode: z.enum(['generate', 'keep']), types: z.array(z.enum(sshKeyTypes)) }),
  }),
  network: network.optional(),
  role: z.string().optional(),
  target: checked(targetName).optional(),
  services: z.strictObject({ enable: strings(unitName), disable: strings(unitName), mask: strings(unitName) }),
  drivers: z.strictObject({
    load: strings(moduleName),
    blacklist: strings(moduleName),
    options: named(moduleName, named(moduleOption, optionValue)),
  }),
  users: z.array(z.strictObject({ name: checked(userName), hashedPassword: z.union([checked(passwordHash), secret]) })),
  writeFiles: z.array(
    z.strictObject({
      path: checked(filePath),
      owner: checked(fileOwner),
      permissions: z.string().regex(/^[0-7]{4}$/),
      content: z.union([z.string(), secret]),
    }),
  ),
});

const hostKey = z
  .strictObject({ type: z.enum(sshKeyTypes), privateKey: z.string(), publicKey: z.string() })
  .refine(isHostKey, { error: 'this is not a key pair of its type' });

export const bundleSchema = z
  .strictObject({
    format: z.literal(1),
    targetId: z.string().refine(isTargetId, { error: 'this is not a UUID in lower case' }),
    written: z.iso.datetime(),
    source: z.strictObject({ file: z.string(), text: z.string() }),
    resolved,
    secrets: named(secretName, z.string()),
    generated: z.strictObject({
      machineId: z.string().refine(isMachineId, { error: 'this is not a machine id' }),
      sshHostKeys: z.array(hostKey),
    }),
  })
  .superRefine((bundle, context) => {
    const passwords = bundle.resolved.users.map((user) => user.hashedPassword);
    const contents = bundle.resolved.writeFiles.map((file) => file.content);
    const missing = (name: string) => !Object.hasOwn(bundle.secrets, name);
    for (const value of [...passwords, ...contents]) {
      if (typeof value === 'string') continue;
      if (missing(value.secret)) context.addIssue({ code: 'custom', message: `the secret ${value.secret} is missing` });
    }
    for (const value of passwords) {
      if (typeof value === 'string' || missing(value.secret)) continue;
      if (passwordHash(bundle.secrets[value.secret] as string) === undefined) continue;
      context.addIssue({ code: 'custom', message: `the secret ${value.secret} is not a crypt hash` });
    }
  });
