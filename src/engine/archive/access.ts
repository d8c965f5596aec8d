/** What is needed to open an archive besides its name. Plain data: it goes to other processes as JSON. */
export interface ArchiveAccess {
  /** A registry is asked by HTTP without TLS. */
  readonly plainHttp?: boolean;
  /** Files with the identities that can decrypt it. */
  readonly identities?: readonly string[];
  /** Files and folders with the public keys of who may sign; by default the system's. */
  readonly trust?: readonly string[];
  /** Refuse what none of them signed. */
  readonly requireSigned?: boolean;
}
