/** The form of single values: each check answers undefined, or the code and a sentence with the right form. */
import { isHostAddress, parseCidr, parseIp, parseMac } from './addresses.ts';
import type { DiagnosticCode } from './diagnostic.ts';

export interface Finding {
  readonly code: DiagnosticCode;
  readonly message: string;
}
export type Check = (value: string) => Finding | undefined;

/** Long values are cut, so that a message stays a line. */
export function quote(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
}

function matching(code: DiagnosticCode, pattern: RegExp, right: string): Check {
  return (value) => (pattern.test(value) ? undefined : { code, message: `${quote(value)} is not ${right}` });
}

const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
const hostNamePattern = new RegExp(`^${label}(?:\\.${label})*$`);

/** RFC 1123 section 2.1; at most 64 characters, because Linux keeps no longer ones (HOST_NAME_MAX). */
export const hostName: Check = (value) => {
  if (hostNamePattern.test(value) && value.length <= 64) return undefined;
  const right = 'letters, digits and "-", at most 63 in each part between dots and 64 in all, "-" neither first nor last';
  return { code: 'E002', message: `${quote(value)} is not a host name: ${right}` };
};

export const domainName: Check = (value) => {
  if (hostNamePattern.test(value) && value.length <= 253 && value.includes('.')) return undefined;
  return { code: 'E002', message: `${quote(value)} is not a full domain name, as web-07.example.net` };
};

/** A search domain of resolv.conf; `~` routes it (systemd-resolved). */
export const searchDomain: Check = (value) => {
  const bare = value.replace(/^~/, '');
  if (value === '~.' || (hostNamePattern.test(bare) && bare.length <= 253)) return undefined;
  return { code: 'E002', message: `${quote(value)} is not a domain name, as example.net` };
};

const machineIdWords = ['generate', 'derive', 'keep'];
export const machineId: Check = (value) => {
  if (machineIdWords.includes(value) || isMachineId(value)) return undefined;
  return {
    code: 'E003',
    message: `${quote(value)} is not a machine id: generate, derive, keep, or 32 lower-case hex digits that are not all zero`,
  };
};
export function isMachineId(value: string): boolean {
  return /^[0-9a-f]{32}$/.test(value) && !/^0+$/.test(value);
}

export const interfaceAddress: Check = (value) => {
  const network = parseCidr(value);
  if (network !== undefined && isHostAddress(network)) return undefined;
  const right = 'an address and its prefix length, as 10.20.0.17/24 or 2001:db8::17/64';
  return { code: 'E005', message: `${quote(value)} is not a valid interface address; write ${right}` };
};
export const ipAddress: Check = (value) => {
  const ip = parseIp(value);
  if (ip !== undefined && isHostAddress(ip)) return undefined;
  return {
    code: 'E005',
    message: `${quote(value)} is not an IP address; write it without a prefix, as 10.20.0.1 or 2001:db8::1`,
  };
};
export const routeTarget: Check = (value) => {
  if (value === 'default' || parseCidr(value) !== undefined) return undefined;
  return { code: 'E005', message: `${quote(value)} is not a route's destination: default, or a network as 10.30.0.0/16` };
};
export const macAddress: Check = (value) => {
  if (parseMac(value) !== undefined) return undefined;
  return { code: 'E005', message: `${quote(value)} is not the MAC address of one interface, as "52:54:00:aa:bb:07"` };
};

/** What the kernel takes as a name (dev_valid_name in net/core/dev.c), without characters that need quoting in files. */
export const interfaceName = matching(
  'E030',
  /^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}$/,
  'an interface name: 1 to 15 letters, digits, "_", "-" or "."',
);
/** Names an entry that has a `match`; becomes part of file names. */
export const interfaceId = matching(
  'E030',
  /^(?!\.)[A-Za-z0-9_.-]{1,64}$/,
  'a name for an interface: 1 to 64 letters, digits, "_", "-" or "."',
);
export const interfacePattern = matching(
  'E030',
  /^[A-Za-z0-9_.*?[\]!-]{1,64}$/,
  'an interface name or a pattern of one, as enp*s0',
);
export const driverPattern = matching('E030', /^[A-Za-z0-9_.*?[\]!-]{1,64}$/, 'a driver name or a pattern of one, as virtio_net');

/** Module names as modprobe knows them. */
export const moduleName = matching('E030', /^[A-Za-z0-9_-]{1,63}$/, 'a kernel module name: letters, digits, "_" and "-"');
export const moduleOption = matching('E030', /^[A-Za-z0-9_.-]{1,63}$/, 'the name of a module option');
export const moduleOptionValue: Check = (value) => {
  if (/^[\x20-\x7e]{0,1024}$/.test(value) && !/["'\\#]/.test(value)) return undefined;
  return { code: 'E030', message: `${quote(value)} cannot stand in modprobe.d: printable ASCII without quotes, "\\" and "#"` };
};

/** systemd.unit(5): the characters of a unit name, at most 255. */
export const unitName = matching(
  'E030',
  /^(?![-.])[A-Za-z0-9:_.\\@-]{1,255}$/,
  'a unit name, as nginx or nginx.service: letters, digits and ":_.@-\\"',
);
const unitSuffix = /\.(service|socket|target|timer|mount|automount|path|slice|scope|swap|device)$/;

/** `nginx` becomes `nginx.service`, as systemctl does it. */
export function normalizeUnit(name: string, suffix = '.service'): string {
  return unitSuffix.test(name) ? name : `${name}${suffix}`;
}
export const targetName: Check = (value) =>
  unitName(value) ??
  (normalizeUnit(value, '.target').endsWith('.target')
    ? undefined
    : { code: 'E030', message: `${quote(value)} is not a target unit, as multi-user.target` });

/** useradd(8) on Debian and on Red Hat take these. */
export const userName = matching(
  'E030',
  /^[a-z_][a-z0-9_-]{0,30}[a-z0-9_$-]?$/,
  'a user name: lower-case letters, digits, "_" and "-", at most 32, a letter or "_" first',
);

/** crypt(5): yescrypt, gost-yescrypt, scrypt, sha512crypt, sha256crypt, bcrypt, md5crypt. */
const cryptHashes = [
  /^\$g?y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}$/,
  /^\$7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}$/,
  /^\$6\$(rounds=[1-9]\d{3,8}\$)?[^$:\n\s]{1,16}\$[./A-Za-z0-9]{86}$/,
  /^\$5\$(rounds=[1-9]\d{3,8}\$)?[^$:\n\s]{1,16}\$[./A-Za-z0-9]{43}$/,
  /^\$2[abxy]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/,
  /^\$1\$[^$:\n\s]{1,8}\$[./A-Za-z0-9]{22}$/,
];
/** A crypt hash, `*` or `!` (no password fits), or a locked hash (`!` before it). Never repeats the value: it may be a password. */
export const passwordHash: Check = (value) => {
  if (value === '*' || /^!{1,2}$/.test(value)) return undefined;
  const bare = value.replace(/^!{1,2}/, '');
  if (cryptHashes.some((pattern) => pattern.test(bare))) return undefined;
  return {
    code: 'E023',
    message: 'not a crypt hash; make one with "mkpasswd -m yescrypt" or "openssl passwd -6", or write "*" for no password',
  };
};

export const filePath: Check = (value) => {
  const plain =
    value.startsWith('/') &&
    !value
      .slice(1)
      .split('/')
      .some((part) => part === '' || part === '.' || part === '..');
  const long = Buffer.byteLength(value) > 4095 || value.split('/').some((part) => Buffer.byteLength(part) > 255);
  if (plain && !long && !hasControl(value)) return undefined;
  return { code: 'E019', message: `${quote(value)} is not the absolute path of a file without "..", "." or "//", as /etc/motd` };
};
export const fileOwner = matching(
  'E030',
  /^([a-z_][a-z0-9_-]{0,31}|\d{1,9})(:([a-z_][a-z0-9_-]{0,31}|\d{1,9}))?$/,
  'an owner: user or user:group, by name or number',
);
export const filePermissions: Check = (value) => {
  if (/^0?[0-7]{3,4}$/.test(value) && normalizePermissions(value).length === 4) return undefined;
  return { code: 'E020', message: `${quote(value)} is not an octal mode; write it in quotes, as "0644"` };
};
/** Four octal digits. */
export function normalizePermissions(value: string): string {
  return value.replace(/^0+(?=[0-7]{3})/, '').padStart(4, '0');
}

export const secretName = matching(
  'E030',
  /^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/,
  'a name for a secret: a letter, then letters, digits, "_.-"',
);

/** RFC 3720 section 3.2.6.3.1 (iqn., eui.) and RFC 3980 (naa.). */
export const iqn = matching(
  'E027',
  /^(iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9][a-z0-9.-]*(:[\x21-\x7e]+)?|eui\.[0-9A-Fa-f]{16}|naa\.([0-9A-Fa-f]{16}|[0-9A-Fa-f]{32}))$/,
  'an iSCSI name, as iqn.2024-01.net.example:web-07',
);
/** NVM Express base specification, NVMe Qualified Names. */
export const nqn = matching(
  'E027',
  /^nqn\.(\d{4}-(0[1-9]|1[0-2])\.[a-z0-9][a-z0-9.-]*:[\x21-\x7e]+|2014-08\.org\.nvmexpress:uuid:[0-9A-Fa-f-]{36})$/,
  'an NVMe name, as nqn.2014-08.org.nvmexpress:uuid:...',
);

export const kernelArgument: Check = (value) => {
  if (/^(root|systemd\.machine_id)(=|$)/.test(value)) {
    return {
      code: 'E025',
      message: `${quote(value)}: root= and systemd.machine_id= belong to the machine and may not be overridden`,
    };
  }
  return undefined;
};

export const fileContent: Check = (value) => {
  if (/\p{Surrogate}/u.test(value)) return { code: 'E030', message: 'the text holds half a character (a lone surrogate)' };
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(value)) {
    return {
      code: 'E018',
      message: 'a private key stands in the YAML; put it into a root-owned file and write content: {secret: NAME}',
    };
  }
  return undefined;
};

function hasControl(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
