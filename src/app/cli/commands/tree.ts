/**
 * `layerstack tree`: draws the layers as `dockviz images --tree` draws images, or as a graph for Graphviz.
 */
import type { LayerTree } from '../../../image/store.ts';
import { defineCommand } from '../command.ts';
import { formatId } from '../format.ts';
import { parseFormat, quoteName } from '../output.ts';

interface Style {
  readonly truncate: boolean;
  /** Each layer's own size. */
  readonly incremental: boolean;
}

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    'Draw the layers. Each layer is below its parent, with the size of its whole chain and the images whose topmost layer\n' +
    'it is.',
  options: {
    dot: { type: 'boolean', help: 'print a graph in the language of Graphviz' },
    incremental: { type: 'boolean', short: 'i', help: "show each layer's own size" },
    'no-trunc': { type: 'boolean', help: 'print whole ids' },
    format: { type: 'string', value: 'json', help: 'one JSON document for each base layer' },
  },
  operands: { min: 0, max: 0 },
  examples: [
    { command: 'layerstack tree', does: 'draws the layers' },
    { command: 'layerstack tree --dot | dot -Tsvg > layers.svg', does: 'draws them as a picture' },
  ],
  async run(context, values) {
    const format = values.format === undefined ? undefined : parseFormat(values.format);
    const style = { truncate: values['no-trunc'] !== true, incremental: values.incremental === true };
    await using store = await context.open();
    const trees = await store.images.tree();
    if (format === 'json') context.print(...trees.map((tree) => JSON.stringify(tree)));
    else context.print(...(values.dot === true ? dot(trees, style) : drawn(trees, style, '')));
  },
});

function drawn(trees: readonly LayerTree[], style: Style, prefix: string): string[] {
  return trees.flatMap((tree, index) => {
    const isLast = index === trees.length - 1;
    const line = `${prefix}${isLast ? '└─' : '├─'}${nameOf(tree, style)} ${sizeOf(tree, style)}${imagesOf(tree, style)}`;
    return [line, ...drawn(tree.children, style, `${prefix}${isLast ? '  ' : '│ '}`)];
  });
}

function nameOf({ chainId }: LayerTree, { truncate }: Style): string {
  return chainId === undefined ? '<none>' : formatId(chainId, truncate);
}

function sizeOf({ size, virtualSize }: LayerTree, { incremental }: Style): string {
  return incremental ? `Size: ${humanSize(size)}` : `Virtual Size: ${humanSize(virtualSize)}`;
}

/** dockviz writes `104.0 MB`, docker `104MB`. */
function humanSize(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  while (value >= 1000 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${value.toFixed(1)} ${units[0] ?? ''}`;
}

function imagesOf(tree: LayerTree, style: Style): string {
  const tags = tree.images.flatMap(tagsOf);
  const untagged = tree.images.filter((image) => tagsOf(image).length === 0);
  return [
    tags.length > 0 ? ` Tags: ${tags.join(', ')}` : '',
    untagged.length > 0
      ? ` Untagged: ${untagged.map(({ id }) => formatId(id, style.truncate)).join(', ')}`
      : '',
  ].join('');
}

/**
 * Leaves out names by digest, as dockviz does. Every pull and push leaves one, and they would make the
 * drawing unreadable.
 */
function tagsOf({ references }: LayerTree['images'][number]): readonly string[] {
  return references.filter((name) => !name.includes('@')).map(quoteName);
}

function dot(trees: readonly LayerTree[], style: Style): string[] {
  return ['digraph docker {', ...nodes(trees, undefined, style), ' base [style=invisible]', '}'];
}

function nodes(trees: readonly LayerTree[], parent: string | undefined, style: Style): string[] {
  return trees.flatMap((tree) => {
    const name = nameOf(tree, style);
    const edge = parent === undefined ? ` base -> "${name}" [style=invis]` : ` "${parent}" -> "${name}"`;
    const labels = [
      name,
      sizeOf(tree, style),
      ...tree.images.map((image) => tagsOf(image).join('\\n') || formatId(image.id, style.truncate)),
    ];
    const box = tree.images.length > 0 ? ',shape=box,fillcolor="paleturquoise",style="filled,rounded"' : '';
    return [edge, ` "${name}" [label="${labels.join('\\n')}"${box}];`, ...nodes(tree.children, name, style)];
  });
}
