/** `layerstack snapshots`: draws the snapshots, each below its parent, or as a graph for Graphviz. */
import type { Snapshot, SnapshotSize } from '../../../snapshot/snapshot.ts';
import { defineCommand } from '../command.ts';
import { parseFilters } from '../filters.ts';
import { formatAge, formatBytes, formatId } from '../format.ts';
import { parseFormat } from '../output.ts';

/** A snapshot with what is on top of it. */
interface Node {
  readonly snapshot: Snapshot;
  readonly children: Node[];
}

export const command = defineCommand({
  usage: '[OPTIONS] [CONTAINER]',
  description:
    'Draw the snapshots of a container, or of all containers. Each snapshot is below its parent, with its name, the\n' +
    'container that it was taken of, and its age.',
  options: {
    dot: { type: 'boolean', help: 'print a graph in the language of Graphviz' },
    quiet: { type: 'boolean', short: 'q', help: 'print ids only' },
    size: {
      type: 'boolean',
      short: 's',
      help: 'show the bytes that no other snapshot has, which are measured',
    },
    filter: {
      type: 'string',
      short: 'f',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'show only snapshots that match: label, label!',
    },
    'no-trunc': { type: 'boolean', help: 'print whole ids' },
    format: { type: 'string', value: 'json', help: 'one JSON document for each snapshot, with its sizes' },
  },
  operands: { min: 0, max: 1, kinds: ['container'] },
  examples: [
    { command: 'layerstack snapshots build', does: 'draws the snapshots of a container' },
    { command: 'layerstack snapshots --dot | dot -Tsvg > snapshots.svg', does: 'draws all as a picture' },
  ],
  async run(context, values, [container]) {
    const json = values.format !== undefined && parseFormat(values.format) === 'json';
    const truncate = values['no-trunc'] !== true;
    const { label, notLabel } = parseFilters(values.filter ?? [], ['label', 'label!']);
    await using store = await context.open();
    const all = await store.snapshots.list({ container, label, notLabel });
    const sized = json || values.size === true;
    const sizes: ReadonlyMap<string, SnapshotSize> = sized ? await store.snapshots.sizes() : new Map();
    if (json) context.print(...all.map((each) => JSON.stringify(document(each, sizes.get(each.id)))));
    else if (values.quiet === true) context.print(...all.map(({ id }) => formatId(id, truncate)));
    else if (values.dot === true) context.print(...dot(all, truncate));
    else {
      context.print(...drawn(all, (each) => lineOf(each, truncate, sizes.get(each.id)?.own)));
    }
  },
});

function document(snapshot: Snapshot, size: SnapshotSize | undefined): Record<string, unknown> {
  return { ...snapshot, ownBytes: size?.own, sharedBytes: size?.shared };
}

function rootsOf(all: readonly Snapshot[]): Node[] {
  const nodes = new Map(all.map((snapshot) => [snapshot.id, { snapshot, children: [] } as Node]));
  const roots: Node[] = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.snapshot.parent ?? '');
    (parent === undefined ? roots : parent.children).push(node);
  }
  return roots;
}

/** Lines deeper than this have the same indentation, so that a long history is not quadratic. */
const MAX_INDENT = 40;

function drawn(all: readonly Snapshot[], line: (snapshot: Snapshot) => string): string[] {
  const lines: string[] = [];
  const open = entriesOf(rootsOf(all), '');
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, prefix, isLast } = next;
    const isDeep = prefix.length >= 2 * MAX_INDENT;
    lines.push(`${prefix}${isDeep ? '… ' : ''}${isLast ? '└─' : '├─'}${line(node.snapshot)}`);
    open.push(...entriesOf(node.children, isDeep ? prefix : `${prefix}${isLast ? '  ' : '│ '}`));
  }
  return lines;
}

/** The last entry is the one that is drawn first. */
function entriesOf(nodes: readonly Node[], prefix: string) {
  return nodes.map((node, index) => ({ node, prefix, isLast: index === nodes.length - 1 })).reverse();
}

function lineOf(snapshot: Snapshot, truncate: boolean, own: number | undefined): string {
  const { id, name, containerName, created } = snapshot;
  return [
    formatId(id, truncate),
    ...(name === undefined ? [] : [name]),
    `of ${containerName}`,
    ...(own === undefined ? [] : [formatBytes(own)]),
    formatAge(Date.parse(created)),
  ].join('  ');
}

function dot(all: readonly Snapshot[], truncate: boolean): string[] {
  const lines = all.flatMap((snapshot) => {
    const { id, name, parent, containerName } = snapshot;
    const label = [formatId(id, truncate), ...(name === undefined ? [] : [name]), `of ${containerName}`];
    return [
      ` "${formatId(id, truncate)}" [label="${label.join('\\n')}"];`,
      ...(parent === undefined ? [] : [` "${formatId(parent, truncate)}" -> "${formatId(id, truncate)}"`]),
    ];
  });
  return ['digraph snapshots {', ...lines, '}'];
}
