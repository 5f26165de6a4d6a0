/** Makes the completion script for zsh, which `compinit` loads. */
import { PROGRAM_OPTIONS, type Declaration, type ValueKind } from './command.ts';
import { operandKind, optionsOf, shellOptions, type ShellOption } from './shell-view.ts';

export function zshCompletion(declarations: readonly Declaration[]): string {
  const verbs = declarations.flatMap(({ verb, aliases, summary }) =>
    [verb, ...aliases].map((name) => quoted(`${escaped(name, ':')}:${summary}`)),
  );
  return [
    '#compdef layerstack',
    '# Completion of layerstack for zsh, made by `layerstack completion zsh`: source it, or put it as _layerstack into a',
    '# directory of $fpath.',
    '',
    NAMES,
    '_layerstack_verbs() {',
    '  local -a verbs',
    '  verbs=(',
    ...[...verbs, quoted('help:show how to call a verb')].map((each) => `    ${each}`),
    '  )',
    "  _describe -t commands 'verb' verbs",
    '}',
    '',
    '_layerstack() {',
    '  local curcontext=$curcontext state line i ret=1',
    '  local -a layerstack_root',
    '  local -A opt_args',
    '  for ((i = 2; i < CURRENT; i++)); do',
    '    case $words[i] in',
    '      --root) layerstack_root=(--root $words[i+1]) ;;',
    '      --root=*) layerstack_root=($words[i]) ;;',
    '    esac',
    '  done',
    ...call('_arguments -C -s -S', [
      ...shellOptions(PROGRAM_OPTIONS).flatMap(optionSpecs),
      quoted('1: :_layerstack_verbs'),
      quoted('*:: :->rest'),
    ]).map((line) => `  ${line}`),
    '  [[ $state == rest ]] || return ret',
    '  curcontext=${curcontext%:*}-$line[1]:',
    '  case $line[1] in',
    ...declarations.flatMap(verbCase),
    '    help) _arguments -S ' + quoted('1: :_layerstack_verbs') + ' && ret=0 ;;',
    '  esac',
    '  return ret',
    '}',
    '',
    'if [[ $funcstack[1] == _layerstack ]]; then',
    '  _layerstack "$@"',
    'else',
    '  compdef _layerstack layerstack',
    'fi',
  ].join('\n');
}

const NAMES = `# Adds names of images or containers in the store.
_layerstack_names() {
  local -a names
  names=(\${(f)"$(command layerstack $layerstack_root __complete $1 2>/dev/null)"})
  shift
  compadd "$@" -a names
}
`;

function verbCase(declaration: Declaration): string[] {
  const { verb, aliases, command } = declaration;
  const how = command.operandsEndOptions === true ? `_arguments -s -S -A '-*'` : '_arguments -s -S';
  const specs = [...optionsOf(declaration).flatMap(optionSpecs), ...operandSpecs(declaration)];
  return [
    `    ${[verb, ...aliases].join('|')})`,
    ...call(how, specs).map((line) => `      ${line}`),
    '      ;;',
  ];
}

/** Returns the lines of a call that is written over several lines. */
function call(how: string, specs: readonly string[]): string[] {
  return [how, ...specs.map((spec) => `  ${spec}`)].map((line) => `${line} \\`).concat('  && ret=0');
}

/** Returns a spec for each name of an option. Each name excludes the others: one of them is enough. */
function optionSpecs({ names, help, value, kind, multiple }: ShellOption): string[] {
  return names.map((name) => {
    const instead = multiple ? '*' : names.length > 1 ? `(${names.join(' ')})` : '';
    if (value === undefined) return quoted(`${instead}${name}[${escaped(help, '[]')}]`);
    const taking = name.startsWith('--') ? `${name}=` : `${name}+`;
    return quoted(`${instead}${taking}[${escaped(help, '[]')}]:${escaped(value, ':')}:${action(kind)}`);
  });
}

function operandSpecs({ command }: Declaration): string[] {
  const { max, kinds = [] } = command.operands;
  const positions = Math.min(max, Math.max(kinds.length, 1));
  return Array.from({ length: positions }, (_, position) => {
    const isRest = position === positions - 1 && max > positions;
    const kind = operandKind(command, position) ?? 'none';
    return quoted(`${isRest ? '*' : String(position + 1)}: :${action(kind)}`);
  });
}

function action(kind: ValueKind): string {
  if (typeof kind !== 'string') return `(${kind.join(' ')})`;
  switch (kind) {
    case 'file':
      return '_files';
    case 'directory':
      return '_files -/';
    case 'image':
    case 'container':
    case 'object':
      return `{_layerstack_names ${kind}}`;
    case 'container-path':
      return "{_layerstack_names container-path -S '' || _files}";
    case 'mountable':
      return '{_layerstack_names container || _files}';
    case 'verb':
      return '_layerstack_verbs';
    case 'none':
      return ' ';
  }
}

function escaped(text: string, characters: string): string {
  return [...text].map((each) => (each === '\\' || characters.includes(each) ? `\\${each}` : each)).join('');
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
