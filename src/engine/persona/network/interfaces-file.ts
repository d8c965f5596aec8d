/** What interfaces(5) of ifupdown says, as far as it matters who configures an interface. */

/** Whether a file defines or starts an interface other than lo. */
export function definesInterface(content: string): boolean {
  return content
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .some(([keyword = '', ...names]) => {
      if (keyword === 'iface' || keyword === 'mapping') return names[0] !== undefined && names[0] !== 'lo';
      return (keyword === 'auto' || keyword.startsWith('allow-')) && names.some((name) => name !== 'lo');
    });
}

/** Whether the file takes in /etc/network/interfaces.d. */
export function sourcesDirectory(content: string): boolean {
  return /^\s*(source\s+(\/etc\/network\/)?interfaces\.d\/\*|source-directory\s+(\/etc\/network\/)?interfaces\.d\/?)\s*$/m.test(
    content,
  );
}
