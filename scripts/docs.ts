/** Writes docs/commands.md from the table of commands: `npm run docs`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from '@oclif/core';
import { pluginsWith } from '../src/main.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const docsFile = join(root, 'docs', 'commands.md');

/** The command reference as Markdown. */
export async function commandReference(table = './src/command-table.ts'): Promise<string> {
  const plugins = await pluginsWith(root, table);
  const commands = [...plugins.values()].flatMap((plugin) => plugin.commands).filter((command) => !command.hidden);
  const contents = commands.map(
    (command) => `- [${title(command)}](#${title(command).replaceAll(' ', '-')}): ${summary(command)}`,
  );
  const preface = 'Made from the commands themselves by `npm run docs`; what `--help` prints says the same.';
  return `# Commands\n\n${preface}\n\n${contents.join('\n')}\n\n${commands.map((command) => section(command).trimEnd()).join('\n\n')}\n`;
}

function title(command: Command.Cached): string {
  return `doppel ${command.id.replaceAll(':', ' ')}`;
}

function fill(text: string, command: Command.Cached): string {
  return text.replaceAll('<%= config.bin %>', 'doppel').replaceAll('<%= command.id %>', command.id.replaceAll(':', ' ')).trim();
}

function summary(command: Command.Cached): string {
  return fill(command.summary ?? command.description ?? '', command).split('\n', 1)[0] ?? '';
}

function section(command: Command.Cached): string {
  const args = Object.values(command.args ?? {}).filter((arg) => arg.hidden !== true);
  const flags = Object.values(command.flags ?? {})
    .filter((flag) => flag.hidden !== true)
    .sort((a, b) => a.name.localeCompare(b.name));
  const words = args.map((arg) => (arg.required ? arg.name.toUpperCase() : `[${arg.name.toUpperCase()}]`));
  const usage = [title(command), ...words, ...(flags.length > 0 ? ['[FLAGS]'] : [])].join(' ');
  const description = fill(command.description ?? '', command);
  const more = description === summary(command) ? '' : `${description}\n\n`;
  const rows = [...args.map(argRow), ...flags.map(flagRow)];
  const table = rows.length === 0 ? '' : `| | |\n| --- | --- |\n${rows.join('\n')}\n\n`;
  const examples = (command.examples ?? []).map((example) => exampleText(example, command)).join('\n');
  const block = examples === '' ? '' : `\`\`\`sh\n${examples}\n\`\`\`\n\n`;
  return `## ${title(command)}\n\n${summary(command)}\n\n\`\`\`\n${usage}\n\`\`\`\n\n${more}${table}${block}`;
}

function argRow(arg: Command.Arg.Cached): string {
  return `| \`${arg.name.toUpperCase()}\` | ${cell(arg.description, arg.options, arg.default)} |`;
}

function flagRow(flag: Command.Flag.Cached): string {
  const value = flag.type === 'option' ? ` ${(flag.helpValue ?? flag.name.toUpperCase()).toString().replaceAll('|', '\\|')}` : '';
  const name = flag.type === 'boolean' && flag.allowNo === true ? `[no-]${flag.name}` : flag.name;
  const short = flag.char === undefined ? '' : `\`-${flag.char}\`, `;
  const options = flag.type === 'option' ? flag.options : undefined;
  const often = flag.type === 'option' && flag.multiple === true ? ' May be given more than once.' : '';
  const text = [flag.summary, flag.description].filter((part) => part !== undefined && part !== '').join(' ');
  const fallback = flag.type === 'option' ? flag.default : undefined;
  return `| ${short}\`--${name}${value}\` | ${cell(text, options, fallback)}${often}${flag.required === true ? ' Required.' : ''} |`;
}

function cell(text: string | undefined, options: readonly string[] | undefined, fallback: unknown): string {
  const choice =
    options === undefined || options.length === 0 ? '' : ` One of ${options.map((option) => `\`${option}\``).join(', ')}.`;
  const normally = typeof fallback === 'string' || typeof fallback === 'number' ? ` Default: \`${fallback}\`.` : '';
  const safe = (text ?? '').replace(/\s+/g, ' ').trim().replaceAll('|', '\\|').replaceAll('<', '&lt;');
  return `${safe.replace(/([^.!?])$/, '$1.')}${choice}${normally}`.trim();
}

function exampleText(example: Command.Example, command: Command.Cached): string {
  const [note, line] = typeof example === 'string' ? ['', example] : [`# ${example.description}\n`, example.command];
  return fill(`${note}${line}`, command).replace(/^\$ /gm, '');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(dirname(docsFile), { recursive: true });
  writeFileSync(docsFile, await commandReference());
  console.log(`wrote ${docsFile}`);
}
