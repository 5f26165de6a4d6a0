/** Makes the texts of `--help` from the declarations of the commands, so that the two cannot disagree. */
import { nearest } from '../../core/nearest.ts';
import { GLOBAL_OPTIONS, PROGRAM_OPTIONS, type Command, type OptionSpecs } from './command.ts';

/** Returns the help of one command. */
export function commandHelp(verb: string, { usage, description, options }: Command): string {
  return [
    `Usage: layerstack ${verb} ${usage}`.trimEnd(),
    '',
    description,
    ...(Object.keys(options).length > 0 ? ['', 'Options:', ...optionLines(options)] : []),
    '',
    'Global options:',
    ...optionLines(GLOBAL_OPTIONS),
  ].join('\n');
}

/** Returns the help of the program. */
export function programHelp(verbs: Readonly<Record<string, { readonly summary: string }>>): string {
  const width = Math.max(...Object.keys(verbs).map((verb) => verb.length));
  return [
    'Usage: layerstack [OPTIONS] COMMAND',
    '',
    "Keep container images in Docker's overlay2 layout and mount their root file systems, without a daemon.",
    '',
    'Commands:',
    ...Object.entries(verbs).map(([verb, { summary }]) => `  ${verb.padEnd(width)}  ${summary}`),
    '',
    'Options:',
    ...optionLines(PROGRAM_OPTIONS),
    '',
    '`layerstack COMMAND --help` explains a command. LAYERSTACK_DEBUG=1 logs each step.',
  ].join('\n');
}

function optionLines(options: OptionSpecs): string[] {
  const left = Object.entries(options).map(([name, { short, value, type }]) =>
    [
      short === undefined ? '     ' : ` -${short}, `,
      `--${name}`,
      type === 'string' ? ` ${value ?? 'VALUE'}` : '',
    ].join(''),
  );
  const width = Math.max(...left.map((text) => text.length));
  return Object.values(options).map(({ help }, index) => ` ${(left[index] ?? '').padEnd(width)}  ${help}`);
}

/** Verbs of docker that layerstack has under another name, or does not have. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  image: '`layerstack images` lists images; the other verbs stand alone, as in `layerstack rmi`',
  container: '`layerstack containers` lists containers; the other verbs stand alone, as in `layerstack rm`',
  ls: 'use `layerstack images` or `layerstack containers`',
  info: '`layerstack doctor` shows what this machine can do',
  ...Object.fromEntries(
    ['start', 'exec'].map((verb) => [
      verb,
      '`layerstack run IMAGE` runs a command in a new container; for an existing one use `layerstack bundle`, then a runtime',
    ]),
  ),
};

/**
 * Returns the message for an unknown verb. It names the verb to use instead, or a verb that is spelt alike.
 */
export function unknownVerb(name: string, verbs: readonly string[]): string {
  const near = nearest(name, verbs);
  const advice = Object.hasOwn(ELSEWHERE, name)
    ? ELSEWHERE[name]
    : near === undefined
      ? 'see layerstack --help'
      : `did you mean \`layerstack ${near}\`?`;
  return `unknown command ${JSON.stringify(name)}: ${advice}`;
}
