/** A profile after resolution, and the self-contained bundle that the protected region holds. */

export const apiVersion = 'doppel/v1';

export const sshKeyTypes = ['ed25519', 'rsa', 'ecdsa'] as const;
export type SshKeyType = (typeof sshKeyTypes)[number];

/** `extends` merged, variables substituted, the role chosen, defaults filled in. */
export interface ResolvedProfile {
  readonly apiVersion: typeof apiVersion;
  readonly host: string;
  readonly identity: {
    readonly hostname: string;
    readonly fqdn?: string;
    /** `keep` takes over what the target's own system has when the profile is written. */
    readonly machineId: 'generate' | 'derive' | 'keep' | (string & {});
    readonly sshHostKeys: { readonly mode: 'generate' | 'keep'; readonly types: readonly SshKeyType[] };
  };
  /** netplan / cloud-init v2; absent: the network configuration is left alone. */
  readonly network?: NetworkConfig;
  readonly role?: string;
  /** Of the chosen role, after merging with the profile's own top-level settings. */
  readonly target?: string;
  readonly services: {
    readonly enable: readonly string[];
    readonly disable: readonly string[];
    readonly mask: readonly string[];
  };
  readonly drivers: {
    readonly load: readonly string[];
    readonly blacklist: readonly string[];
    readonly options: Readonly<Record<string, Readonly<Record<string, string | number | boolean>>>>;
  };
  readonly users: readonly { readonly name: string; readonly hashedPassword: string | { readonly secret: string } }[];
  readonly writeFiles: readonly WriteFile[];
}

export interface WriteFile {
  readonly path: string;
  /** `user` or `user:group`, by name or number; default root:root. */
  readonly owner: string;
  /** Octal text, as "0644". */
  readonly permissions: string;
  readonly content: string | { readonly secret: string };
}

/** The netplan v2 subset that every renderer understands. Addresses carry their prefix length. */
export interface NetworkConfig {
  readonly version: 2;
  readonly renderer?: 'networkd' | 'NetworkManager';
  readonly ethernets: Readonly<Record<string, EthernetConfig>>;
  readonly vlans: Readonly<Record<string, VlanConfig>>;
  readonly bonds: Readonly<Record<string, BondConfig>>;
  readonly bridges: Readonly<Record<string, BridgeConfig>>;
}
export interface InterfaceConfig {
  readonly dhcp4: boolean;
  readonly dhcp6: boolean;
  readonly addresses: readonly string[];
  readonly routes: readonly RouteConfig[];
  readonly nameservers: { readonly addresses: readonly string[]; readonly search: readonly string[] };
  readonly mtu?: number;
  readonly macaddress?: string;
  readonly optional: boolean;
  readonly acceptRa?: boolean;
}
export interface RouteConfig {
  /** `default` or CIDR. */
  readonly to: string;
  readonly via?: string;
  readonly metric?: number;
  readonly onLink: boolean;
}
export interface EthernetConfig extends InterfaceConfig {
  readonly match?: { readonly macaddress?: string; readonly name?: string; readonly driver?: string };
  readonly setName?: string;
}
export interface VlanConfig extends InterfaceConfig {
  readonly id: number;
  readonly link: string;
}
export interface BondConfig extends InterfaceConfig {
  readonly interfaces: readonly string[];
  readonly mode?: string;
  readonly primary?: string;
  readonly miimon?: number;
}
export interface BridgeConfig extends InterfaceConfig {
  readonly interfaces: readonly string[];
  readonly stp?: boolean;
}

export interface SshHostKey {
  readonly type: SshKeyType;
  /** Text of ssh_host_TYPE_key, OpenSSH format, with the final newline. */
  readonly privateKey: string;
  /** Text of ssh_host_TYPE_key.pub, with the final newline. */
  readonly publicKey: string;
}

/** What the region holds: an identity, not a recipe. Nothing else is needed to apply it. */
export interface Bundle {
  readonly format: 1;
  /** Names this target for good; the container refuses another's. */
  readonly targetId: string;
  /** RFC 3339, when the bundle was made. */
  readonly written: string;
  /** The profile's YAML as the user wrote it, and the file it came from. */
  readonly source: { readonly file: string; readonly text: string };
  readonly resolved: ResolvedProfile;
  /** Contents of the secrets that the profile refers to, by name. */
  readonly secrets: Readonly<Record<string, string>>;
  /** Every generated value, drawn once. */
  readonly generated: { readonly machineId: string; readonly sshHostKeys: readonly SshHostKey[] };
}
