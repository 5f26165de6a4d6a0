/** Makes the completion script for bash. It needs bash 4.4, and does not need the package bash-completion. */
import { PROGRAM_OPTIONS, type Declaration, type ValueKind } from './command.ts';
import { operandKind, optionsOf, shellOptions, type ShellOption } from './shell-view.ts';

export function bashCompletion(declarations: readonly Declaration[]): string {
  const verbs = declarations.map(({ verb }) => verb);
  const aliases = declarations.flatMap((each) => each.aliases.map((alias): Row => [alias, each.verb]));
  const stopping = declarations.filter(({ command }) => command.operandsEndOptions === true);
  const program = shellOptions(PROGRAM_OPTIONS);
  return [
    '# Completion of layerstack for bash, made by `layerstack completion bash`: source it, or put it into',
    '# /usr/share/bash-completion/completions/layerstack.',
    '',
    `__layerstack_verbs='${['help', ...verbs, ...aliases.map(([alias]) => alias)].join(' ')}'`,
    '',
    '# The verb that an alias means.',
    ...table('__layerstack_alias', aliases),
    '# The options of a verb. The empty verb has the options before a verb.',
    ...table('__layerstack_options', [
      ["''", optionWords(program)],
      ...declarations.map((each): Row => [each.verb, optionWords(optionsOf(each))]),
    ]),
    '# The kind of value that an option takes, by VERB:OPTION.',
    ...table('__layerstack_value', [
      ...valueRows('', program),
      ...declarations.flatMap((each) => valueRows(each.verb, optionsOf(each))),
    ]),
    '# The kind of thing that an operand names, by VERB:POSITION.',
    ...table('__layerstack_operand', [['help:0', 'verb'], ...declarations.flatMap(operandRows)]),
    '# Verbs whose options end at the first operand.',
    ...table('__layerstack_stops', [[stopping.map(({ verb }) => verb).join('|'), 'yes']]),
    BODY,
  ].join('\n');
}

/** A pattern of `case`, and the value of REPLY for it. */
type Row = readonly [pattern: string, reply: string];

/** Returns the lines of a shell function that sets REPLY by its argument, and fails where no row fits. */
function table(name: string, rows: readonly Row[]): string[] {
  return [
    `${name}() {`,
    '  case $1 in',
    ...rows.map(([pattern, reply]) => `    ${pattern}) REPLY='${reply}' ;;`),
    '    *) return 1 ;;',
    '  esac',
    '}',
    '',
  ];
}

function optionWords(options: readonly ShellOption[]): string {
  return options.flatMap(({ names }) => names).join(' ');
}

/** Returns a row for each option that takes a value. */
function valueRows(verb: string, options: readonly ShellOption[]): Row[] {
  return options.flatMap(({ names, value, kind }): Row[] =>
    value === undefined ? [] : [[names.map((name) => `${verb}:${name}`).join('|'), kindWord(kind)]],
  );
}

function operandRows({ verb, command }: Declaration): Row[] {
  const { max, kinds = [] } = command.operands;
  return kinds.map((_, position): Row => {
    const isRest = position === kinds.length - 1 && max > kinds.length;
    return [isRest ? `${verb}:*` : `${verb}:${position}`, kindWord(operandKind(command, position) ?? 'none')];
  });
}

function kindWord(kind: ValueKind): string {
  return typeof kind === 'string' ? kind : `words ${kind.join(' ')}`;
}

const BODY =
  String.raw`# Offers those of its arguments that begin with the typed text, $cur. bash splits words at : and =.
__layerstack_offer() {
  local candidate breaks='' done_with=''
  [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
  [[ $COMP_WORDBREAKS == *=* ]] && breaks+==
  [[ -n $breaks ]] && done_with=\${cur%"\${cur##*[$breaks]}"}
  for candidate; do
    candidate=$lead$candidate
    [[ $candidate == "$cur"* ]] && COMPREPLY+=("\${candidate#"$done_with"}")
  done
}

# Offers names of images or containers in the store.
__layerstack_names() {
  local names
  mapfile -t names < <(command layerstack "\${root[@]}" __complete "$1" 2>/dev/null)
  __layerstack_offer "\${names[@]}"
}

__layerstack_kind() {
  case $1 in
    file) compopt -o default ;;
    directory) compopt -o dirnames ;;
    image | container | object) __layerstack_names "$1" ;;
    container-path)
      [[ $cur == [./~]* ]] || __layerstack_names "$1"
      if ((\${#COMPREPLY[@]} > 0)); then compopt -o nospace; else compopt -o default; fi
      ;;
    mountable) if [[ $cur == */* ]]; then compopt -o default; else __layerstack_names container; fi ;;
    verb) __layerstack_offer $__layerstack_verbs ;;
    'words '*) __layerstack_offer \${1#words } ;;
  esac
}

_layerstack() {
  local words=() word verb='' pending='' ended='' lead='' operands=0 root=() i cur REPLY
  COMPREPLY=()
  # Join the words that bash has split.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((i > 1)) && [[ $word == [:=]* || \${COMP_WORDS[i - 1]} == *[:=] ]]; then
      words[\${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
  done
  cur=\${words[\${#words[@]} - 1]}
  words=("\${words[@]:0:\${#words[@]} - 1}")
  for word in "\${words[@]}"; do
    if [[ -n $pending ]]; then
      [[ $pending == --root ]] && root=(--root "$word")
      pending=''
    elif [[ -z $ended && $word == -?* ]]; then
      case $word in
        --) ended=yes ;;
        --root=*) root=("$word") ;;
        --*=*) ;;
        --*) __layerstack_value "$verb:$word" && pending=$word ;;
        *) __layerstack_value "$verb:-\${word: -1}" && pending=-\${word: -1} ;;
      esac
    elif [[ -z $verb ]]; then
      verb=$word
      __layerstack_alias "$verb" && verb=$REPLY
    else
      ((operands++))
      __layerstack_stops "$verb" && ended=yes
    fi
  done
  if [[ -n $pending ]]; then
    __layerstack_value "$verb:$pending" && __layerstack_kind "$REPLY"
  elif [[ -z $ended && $cur == --*=* ]]; then
    lead=\${cur%%=*}=
    __layerstack_value "$verb:\${cur%%=*}" && __layerstack_kind "$REPLY"
  elif [[ -z $ended && $cur == -* ]]; then
    __layerstack_options "$verb" && __layerstack_offer $REPLY
  elif [[ -z $verb ]]; then
    __layerstack_offer $__layerstack_verbs
  elif __layerstack_operand "$verb:$operands"; then
    __layerstack_kind "$REPLY"
  fi
}

complete -F _layerstack layerstack
`.replaceAll('\\$', '$');
