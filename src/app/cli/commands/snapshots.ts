/** `layerstack snapshots`: draws the snapshots, each below its parent, or as a graph for Graphviz. */
import type { Snapshot } from '../../../snapshot/snapshot.ts';
import type { Layerstack } from '../../layerstack.ts';
import { defineCommand } from '../command.ts';
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
    await using store = await context.open();
    const all = await store.snapshots.list({ container });
    if (json) for (const each of all) context.print(JSON.stringify(await document(store, each)));
    else if (values.quiet === true) context.print(...all.map(({ id }) => formatId(id, truncate)));
    else if (values.dot === true) context.print(...dot(all, truncate));
    else {
      const sizes = new Map<string, number>();
      if (values.size === true)
        for (const each of all) sizes.set(each.id, (await store.snapshots.size(each)).own);
      context.print(...drawn(rootsOf(all), '', (each) => lineOf(each, truncate, sizes.get(each.id))));
    }
  },
});

async function document(store: Layerstack, snapshot: Snapshot): Promise<Record<string, unknown>> {
  const { own, shared } = await store.snapshots.size(snapshot);
  return { ...snapshot, ownBytes: own, sharedBytes: shared };
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

function drawn(nodes: readonly Node[], prefix: string, line: (snapshot: Snapshot) => string): string[] {
  return nodes.flatMap(({ snapshot, children }, index) => {
    const isLast = index === nodes.length - 1;
    const own = `${prefix}${isLast ? '└─' : '├─'}${line(snapshot)}`;
    return [own, ...drawn(children, `${prefix}${isLast ? '  ' : '│ '}`, line)];
  });
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
