/** IP and MAC addresses as numbers, so that two spellings of one address are equal. */
import { isIPv4, isIPv6 } from 'node:net';

export interface IpAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
}
export interface IpNetwork extends IpAddress {
  /** Prefix length in bits. */
  readonly prefix: number;
}

/** Undefined for what is no address. Zone suffixes (`%eth0`) are none. */
export function parseIp(text: string): IpAddress | undefined {
  if (isIPv4(text)) return { family: 4, value: BigInt(text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)) };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const pair = (high: number, low: number) => (Number(dotted?.[high]) * 256 + Number(dotted?.[low])).toString(16);
  const hex = dotted === null ? text : `${text.slice(0, dotted.index)}${pair(1, 2)}:${pair(3, 4)}`;
  const [head = '', tail] = hex.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const right = tail === undefined ? [] : groups(tail);
  const left = groups(head);
  const middle = Array<string>(8 - left.length - right.length).fill('0');
  const value = [...left, ...middle, ...right].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
  return { family: 6, value };
}

/** `10.0.0.1/24`, `2001:db8::1/64`. */
export function parseCidr(text: string): IpNetwork | undefined {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  if (match === null) return undefined;
  const ip = parseIp(match[1] as string);
  const prefix = Number(match[2]);
  return ip === undefined || prefix > bits(ip) ? undefined : { ...ip, prefix };
}

export function bits(ip: IpAddress): number {
  return ip.family === 4 ? 32 : 128;
}

/** Whether both lie in the same network of `network.prefix` bits. */
export function contains(network: IpNetwork, ip: IpAddress): boolean {
  const shift = BigInt(bits(network) - network.prefix);
  return network.family === ip.family && network.value >> shift === ip.value >> shift;
}

/** fe80::/10: valid on every link. */
export function isLinkLocal6(ip: IpAddress): boolean {
  return ip.family === 6 && ip.value >> 118n === 0x3fan;
}

/** 0.0.0.0/0 or ::/0. */
export function isDefault(network: IpNetwork): boolean {
  return network.prefix === 0 && network.value === 0n;
}

/** Unspecified and multicast addresses cannot be an interface's own. */
export function isHostAddress(ip: IpAddress): boolean {
  const multicast = ip.family === 4 ? ip.value >> 28n === 0xen : ip.value >> 120n === 0xffn;
  return ip.value !== 0n && !multicast;
}

/** Lower case with colons; undefined for what is no MAC address, a multicast one included. */
export function parseMac(text: string): string | undefined {
  if (!/^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$/.test(text)) return undefined;
  const mac = text.toLowerCase().replaceAll('-', ':');
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1 || mac === '00:00:00:00:00:00' ? undefined : mac;
}
