/**
 * `layerstack inspect`: prints docker's documents about containers and images, as a JSON array or one
 * document a line.
 */
import { LayerstackError } from '../../../core/errors.ts';
import type { Layerstack } from '../../layerstack.ts';
import { defineCommand, UsageError } from '../command.ts';
import { forEachName } from '../each.ts';
import { printJson } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS] NAME|ID...',
  description:
    'Show all data of containers and images. Where a container and an image have the same name, show the container.',
  options: {
    type: { type: 'string', value: 'image|container', help: 'look for this type only' },
    format: {
      type: 'string',
      short: 'f',
      value: 'FORMAT',
      kind: ['json'],
      help: 'json (one document a line), or a Go template such as {{.Id}}',
    },
  },
  operands: { min: 1, max: Infinity, kinds: ['object'] },
  examples: [
    { command: 'layerstack inspect app:1', does: 'shows all data of an image' },
    { command: "layerstack inspect -f '{{json .Config.Env}}' app:1", does: 'shows one part of it' },
  ],
  async run(context, values, names) {
    const { type } = values;
    if (type !== undefined && type !== 'image' && type !== 'container')
      throw new UsageError(`--type ${JSON.stringify(type)}: use image or container`);
    const shown = values.format === undefined ? undefined : await lineFormat(values.format);
    await using store = await context.open();
    const documents: object[] = [];
    try {
      await forEachName(context, names, async (name) => {
        documents.push(await inspectOne(store, name, type));
      });
    } finally {
      if (shown) for (const document of documents) context.print(...shown(document).split('\n'));
      else printJson(context, documents, 4);
    }
  },
});

/** Returns the function that makes the text of a document. */
async function lineFormat(format: string): Promise<(document: object) => string> {
  if (format === 'json' || format === '{{json .}}') return (document) => JSON.stringify(document);
  const [{ documentFormat }, { templateValue }] = await Promise.all([
    import('../go-format.ts'),
    import('../inspect-values.ts'),
  ]);
  const shown = documentFormat(format);
  return (document) => shown(templateValue(document) as Readonly<Record<string, unknown>>);
}

async function inspectOne(
  store: Layerstack,
  name: string,
  type: 'image' | 'container' | undefined,
): Promise<object> {
  if (type === 'image') return store.images.inspect(name);
  try {
    return await store.containers.inspect(name);
  } catch (error) {
    if (type === 'container' || !LayerstackError.is(error, 'ERR_CONTAINER_NOT_FOUND')) throw error;
    return await store.images.inspect(name).catch((cause: unknown) => {
      if (!LayerstackError.is(cause, 'ERR_IMAGE_NOT_FOUND')) throw cause;
      throw new LayerstackError(
        'ERR_IMAGE_NOT_FOUND',
        `no container or image has the name ${JSON.stringify(name)}: \`layerstack containers\` and \`layerstack images\` list them`,
        { id: name, cause },
      );
    });
  }
}
