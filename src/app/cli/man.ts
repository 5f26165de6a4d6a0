/** Makes the manual pages, in the language of man(7), from the declarations of the verbs. */
import {
  GLOBAL_OPTIONS,
  PROGRAM_OPTIONS,
  type Command,
  type Declaration,
  type OptionSpecs,
} from './command.ts';
import { allDeclarations } from './declarations.ts';

export interface ManPageOptions {
  readonly version: string;
  /** `2026-01-31` */
  readonly date: string;
}

/**
 * Returns the text of each page by its file name: `layerstack.1`, and one for each verb, `layerstack-load.1`.
 */
export async function manPages(options: ManPageOptions): Promise<Map<string, string>> {
  const declarations = await allDeclarations();
  const pages = new Map([['layerstack.1', programPage(declarations, options)]]);
  for (const each of declarations) pages.set(`layerstack-${each.verb}.1`, verbPage(each, options));
  return pages;
}

function programPage(declarations: readonly Declaration[], options: ManPageOptions): string {
  return page(
    'layerstack',
    "keep images in docker's overlay2 layout and mount their root file systems",
    options,
    [
      '.SH SYNOPSIS',
      '.B layerstack',
      roff('[OPTIONS] COMMAND [ARG...]'),
      '.SH DESCRIPTION',
      ...prose(
        "Keeps container images in Docker's own overlay2 layout and turns them into mounted root file systems, without a daemon. " +
          'Data goes to standard output, progress and errors to standard error. An error is one line: ' +
          '`layerstack: ERR_CODE: what, which object, what to do`.',
      ),
      '.SH COMMANDS',
      ...declarations.flatMap(({ verb, aliases, summary }) => [
        '.TP',
        `.BR ${roff(`layerstack-${verb}`)} (1)`,
        roff(`${summary}${aliases.length > 0 ? ` (also: ${aliases.join(', ')})` : ''}`),
      ]),
      '.SH OPTIONS',
      ...optionLines(PROGRAM_OPTIONS),
      ...ENVIRONMENT,
      '.SH FILES',
      ...entry('/var/lib/layerstack', 'the store, unless another one is named'),
      ...entry('ROOT/layerstack/registries.json', 'mirrors, certificates and time limits of registries'),
      ...entry('/etc/layerstack/serve.json', 'settings of `layerstack serve`'),
      ...exitStatus({}),
      '.SH SEE ALSO',
      ...seeAlso(declarations.map(({ verb }) => `layerstack-${verb}`)),
    ],
  );
}

function verbPage({ verb, aliases, summary, command }: Declaration, options: ManPageOptions): string {
  const [first = '', ...others] = command.usage.split('\n').map((line) => line.trim());
  const synopsis = [`layerstack ${verb} ${first}`, ...others];
  const hasOptions = Object.keys(command.options).length > 0;
  return page(`layerstack-${verb}`, summary, options, [
    '.SH SYNOPSIS',
    ...synopsis.flatMap((line, index) => [...(index > 0 ? ['.br'] : []), ...usageLines(verb, line)]),
    '.SH DESCRIPTION',
    ...prose(command.description),
    ...(aliases.length > 0
      ? [
          '.PP',
          ...prose(`Another name of the command is ${aliases.map((each) => `\`${each}\``).join(', ')}.`),
        ]
      : []),
    ...(hasOptions ? ['.SH OPTIONS', ...optionLines(command.options)] : []),
    '.SH GLOBAL OPTIONS',
    ...optionLines(globalOptions(command.options)),
    ...exitStatus(command),
    '.SH EXAMPLES',
    ...command.examples.flatMap((example) => ['.TP', ...code(example.command), roff(`${example.does}.`)]),
    '.SH SEE ALSO',
    ...seeAlso(['layerstack']),
  ]);
}

function page(
  name: string,
  summary: string,
  { version, date }: ManPageOptions,
  body: readonly string[],
): string {
  const header = `.TH ${roff(name.toUpperCase())} 1 ${date} "layerstack ${roff(version)}" "layerstack"`;
  return `${[header, '.SH NAME', `${roff(name)} \\- ${roff(summary)}`, ...body].join('\n')}\n`;
}

/** Formats `layerstack load [OPTIONS]`. Words to type are bold, placeholders are not. */
function usageLines(verb: string, line: string): string[] {
  const typed = `layerstack ${verb}`;
  return [`.B ${roff(typed)}`, ...(line === `${typed} ` ? [] : [roff(line.slice(typed.length).trim())])];
}

/** Returns the global options, without those that the verb replaces by an option of the same name. */
function globalOptions(own: OptionSpecs): OptionSpecs {
  return Object.fromEntries(Object.entries(GLOBAL_OPTIONS).filter(([name]) => !Object.hasOwn(own, name)));
}

function optionLines(options: OptionSpecs): string[] {
  return Object.entries(options).flatMap(([name, { short, type, value, multiple, help }]) => {
    const names = [...(short === undefined ? [] : [`-${short}`]), `--${name}`].map(
      (each) => `\\fB${roff(each)}\\fR`,
    );
    const argument = type === 'string' ? ` \\fI${roff(value ?? 'VALUE')}\\fR` : '';
    const again = multiple === true ? ' (may be given several times)' : '';
    return ['.TP', `${names.join(', ')}${argument}`, ...prose(`${help}${again}`)];
  });
}

const ENVIRONMENT = [
  '.SH ENVIRONMENT',
  ...entry('LAYERSTACK_ROOT', 'the store, unless `--root` is given'),
  ...entry('LAYERSTACK_DEBUG', '1 logs each step to standard error'),
  ...entry(
    'LAYERSTACK_CAPS',
    'for tests: overrides what layerstack has found out about the machine (see `layerstack doctor`)',
  ),
  ...entry(
    'LAYERSTACK_CERTS_DIR',
    'the directory of certificates of registries, instead of /etc/docker/certs.d',
  ),
  ...entry('DOCKER_CONFIG', 'the directory of the config.json with logins, instead of ~/.docker'),
  ...entry('HTTPS_PROXY, HTTP_PROXY, NO_PROXY', 'proxies for registries'),
  ...entry('SOURCE_DATE_EPOCH', 'the date of new images and archives, in seconds since 1970'),
];

function exitStatus({ failure, statuses }: Pick<Command, 'failure' | 'statuses'>): string[] {
  if (statuses !== undefined)
    return ['.SH EXIT STATUS', ...statuses.meanings.flatMap(([status, meaning]) => entry(status, meaning))];
  const failed = failure === undefined ? 'The command failed' : `The command failed, ${failure}`;
  return [
    '.SH EXIT STATUS',
    ...entry('0', 'The command succeeded.'),
    ...entry('1', `${failed}. It leaves no unfinished changes.`),
    ...entry('2', 'The command line is wrong.'),
  ];
}

function entry(name: string, text: string): string[] {
  return ['.TP', `.B ${roff(name)}`, ...prose(text)];
}

function seeAlso(names: readonly string[]): string[] {
  return names.map((name, index) => `.BR ${roff(name)} (1)${index < names.length - 1 ? ',' : ''}`);
}

/** Returns a command to type, in bold. */
function code(text: string): string[] {
  return [`\\fB${roff(text).replaceAll("'", '\\(aq')}\\fR`];
}

/** Formats a text of several lines; a part in backticks becomes bold. */
function prose(text: string): string[] {
  return text.split('\n').map((line) => {
    const parts = line.split('`');
    return parts.map((part, index) => (index % 2 === 1 ? `\\fB${roff(part)}\\fR` : roff(part))).join('');
  });
}

/** Escapes a text, so that no character of it means anything to roff. */
function roff(text: string): string {
  const escaped = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replaceAll('`', '\\(ga')
    .replace(
      /[^\n -~]/gu,
      (each) => `\\[u${(each.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    );
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}
