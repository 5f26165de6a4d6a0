/** The texts of `--help`, made from the commands themselves so that they cannot disagree. */
import { nearest } from '../../core/nearest.ts';
import { GLOBAL_OPTIONS, PROGRAM_OPTIONS, type Command, type OptionSpecs } from './command.ts';

/** The help of one command. */
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

/** The help of the program. */
export function programHelp(verbs: Readonly<Record<string, { readonly summary: string }>>): string {
  const width = Math.max(...Object.keys(verbs).map((verb) => verb.length));
  return [
    'Usage: layerstack [OPTIONS] COMMAND',
    '',
    "Container images in Docker's overlay2 layout, and mounted root file systems, without a daemon.",
    '',
    'Commands:',
    ...Object.entries(verbs).map(([verb, { summary }]) => `  ${verb.padEnd(width)}  ${summary}`),
    '',
    'Options:',
    ...optionLines(PROGRAM_OPTIONS),
    '',
    'Run `layerstack COMMAND --help` for a command. LAYERSTACK_DEBUG=1 logs what is done.',
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

/** What hands try that layerstack has under another name, or not at all. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  image: 'images are listed by `layerstack images`; the other verbs stand alone, as in `layerstack rmi`',
  container:
    'containers are listed by `layerstack containers`; the other verbs stand alone, as in `layerstack rm`',
  ls: '`layerstack images` and `layerstack containers` list',
  info: '`layerstack doctor` says what this machine can do',
  ...Object.fromEntries(
    ['run', 'start', 'exec'].map((verb) => [
      verb,
      'layerstack runs no processes: `layerstack bundle CONTAINER DIR`, then `runc run --bundle DIR NAME`',
    ]),
  ),
};

/** What to say to a verb that does not exist: where its work is done, or which one may be meant. */
export function unknownVerb(name: string, verbs: readonly string[]): string {
  const near = nearest(name, verbs);
  const advice = Object.hasOwn(ELSEWHERE, name)
    ? ELSEWHERE[name]
    : near === undefined
      ? 'see layerstack --help'
      : `did you mean \`layerstack ${near}\`?`;
  return `there is no command ${JSON.stringify(name)}: ${advice}`;
}
