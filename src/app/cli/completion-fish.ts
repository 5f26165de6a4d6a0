/** Makes the completion script for fish. */
import { PROGRAM_OPTIONS, type Declaration, type ValueKind } from './command.ts';
import { operandKind, optionsOf, shellOptions, type ShellOption } from './shell-view.ts';

export function fishCompletion(declarations: readonly Declaration[]): string {
  const global = shellOptions(PROGRAM_OPTIONS);
  const taking = [
    ...takingOptions('', global),
    ...declarations.flatMap((each) => takingOptions(each.verb, optionsOf(each))),
  ];
  const aliases = declarations.flatMap(({ verb, aliases: names }) => names.map((name) => ({ name, verb })));
  return [
    '# Completion of layerstack for fish, made by `layerstack completion fish`: source it, or put it into',
    '# ~/.config/fish/completions/layerstack.fish.',
    '',
    '# The options that take a value, as VERB:OPTION.',
    `set -g __layerstack_taking ${taking.join(' ')}`,
    '',
    FUNCTIONS.replace(
      '@ALIASES@',
      aliases
        .map(({ name, verb }) => `            case ${name}\n                set __layerstack_verb ${verb}`)
        .join('\n'),
    ),
    'complete -c layerstack -f',
    ...global.map((option) => complete(`__layerstack_at '' 0 0`, option)),
    ...declarations.flatMap(({ verb, aliases: names, summary }) =>
      [verb, ...names].map((name) => verbLine(name, summary)),
    ),
    verbLine('help', 'show how to call a verb'),
    ...declarations.map(
      ({ verb, summary }) => `${begin('__layerstack_at help 0 0')} -a ${verb} -d ${quoted(summary)}`,
    ),
    ...declarations.flatMap(verbLines),
  ].join('\n');
}

const FUNCTIONS = `# Parses the line before the cursor: the verb, the number of its operands, and the named store.
function __layerstack_parse
    set -g __layerstack_verb ''
    set -g __layerstack_operands 0
    set -g __layerstack_root
    set -l pending ''
    set -l ended ''
    set -l tokens (commandline -opc)
    for token in $tokens[2..-1]
        if test -n "$pending"
            test "$pending" = --root; and set -g __layerstack_root --root $token
            set pending ''
        else if test -z "$ended"; and string match -q -- '-?*' $token
            set -l last $token
            string match -q -- '--*' $token; or set last -(string sub -s -1 -- $token)
            if test "$token" = --
                set ended yes
            else if string match -q -- '--root=*' $token
                set -g __layerstack_root $token
            else if contains -- "$__layerstack_verb:$last" $__layerstack_taking
                set pending $token
            end
        else if test -z "$__layerstack_verb"
            set __layerstack_verb $token
            switch $token
@ALIASES@
            end
        else
            set __layerstack_operands (math $__layerstack_operands + 1)
        end
    end
end

# Succeeds where the next operand of this verb is at one of these positions.
function __layerstack_at -a verb from to
    __layerstack_parse
    test "$__layerstack_verb" = "$verb"; and test $__layerstack_operands -ge $from; and test $__layerstack_operands -le $to
end

# Prints names of images or containers in the store.
function __layerstack_names -a kind
    __layerstack_parse
    command layerstack $__layerstack_root __complete $kind 2>/dev/null
end
`;

/** Larger than the number of operands of any command. */
const REST = 100000;

function takingOptions(verb: string, options: readonly ShellOption[]): string[] {
  return options.flatMap(({ names, value }) =>
    value === undefined ? [] : names.map((name) => `${verb}:${name}`),
  );
}

function verbLine(name: string, summary: string): string {
  return `${begin(`__layerstack_at '' 0 0`)} -a ${name} -d ${quoted(summary)}`;
}

function verbLines(declaration: Declaration): string[] {
  const { verb, command } = declaration;
  const last = command.operandsEndOptions === true ? 0 : REST;
  const { max, kinds = [] } = command.operands;
  return [
    ...optionsOf(declaration).map((option) => complete(`__layerstack_at ${verb} 0 ${last}`, option)),
    ...kinds.flatMap((_, position) => {
      const isRest = position === kinds.length - 1 && max > kinds.length;
      const words = argumentsOf(operandKind(command, position) ?? 'none');
      if (words === '') return [];
      return [`${begin(`__layerstack_at ${verb} ${position} ${isRest ? REST : position}`)} ${words}`];
    }),
  ];
}

function begin(condition: string): string {
  return `complete -c layerstack -n ${quoted(condition)}`;
}

function complete(condition: string, { names, help, value, kind }: ShellOption): string {
  const spelled = names.map((name) =>
    name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
  );
  const taken = value === undefined ? [] : [kind === 'file' ? '-r' : '-x', argumentsOf(kind)];
  return [begin(condition), ...spelled, ...taken.filter((each) => each !== ''), `-d ${quoted(help)}`].join(
    ' ',
  );
}

function argumentsOf(kind: ValueKind): string {
  if (typeof kind !== 'string') return `-a ${quoted(kind.join(' '))}`;
  switch (kind) {
    case 'file':
      return '-F';
    case 'directory':
      return `-a '(__fish_complete_directories)'`;
    case 'image':
    case 'container':
    case 'object':
      return `-a '(__layerstack_names ${kind})'`;
    case 'container-path':
      return `-F -a '(__layerstack_names container-path)'`;
    case 'mountable':
      return `-F -a '(__layerstack_names container)'`;
    case 'verb':
    case 'none':
      return '';
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", `\\'`)}'`;
}
