/**
 * `layerstack __complete`: prints names in the store for the shell's completion. Makes no store, and prints
 * no errors.
 */
import { defineCommand, type Context } from '../command.ts';

/** A reader does not need more names than this. */
const MOST = 1000;

export const command = defineCommand({
  usage: 'image|container|container-path|object',
  description: "Print names of images or containers, for the shell's completion.",
  options: {},
  operands: { min: 1, max: 1 },
  examples: [],
  async run(context, _values, [kind = '']) {
    const names = await namesOf(context, kind).catch(() => []);
    context.print(...[...new Set(names)].sort().slice(0, MOST));
  },
});

async function namesOf(context: Context, kind: string): Promise<string[]> {
  const wantsImages = kind === 'image' || kind === 'object';
  await using store = await context.open({ readOnly: true });
  const images = wantsImages ? (await store.images.list()).flatMap(({ RepoTags }) => RepoTags) : [];
  const containers = kind === 'image' ? [] : (await store.containers.list()).map(({ name }) => name);
  return [...images, ...containers.map((name) => (kind === 'container-path' ? `${name}:` : name))];
}
