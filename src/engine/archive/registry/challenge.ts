/** What a server asks for before it lets somebody in: the header WWW-Authenticate (RFC 9110, section 11.6.1). */

export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const word = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const parameter = /[\s,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/y;

/** Several may stand in one header. */
export function parseChallenges(header: string): Challenge[] {
  const found: Challenge[] = [];
  for (let at = 0; at < header.length; ) {
    at += /^[\s,]*/.exec(header.slice(at))?.[0].length ?? 0;
    word.lastIndex = at;
    const scheme = word.exec(header)?.[0];
    if (scheme === undefined) return found;
    at += scheme.length;
    const parameters = new Map<string, string>();
    for (;;) {
      parameter.lastIndex = at;
      const [whole, name, quoted, plain] = parameter.exec(header) ?? [];
      if (whole === undefined || name === undefined) break;
      parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '');
      at += whole.length;
    }
    found.push({ scheme: scheme.toLowerCase(), parameters });
  }
  return found;
}
