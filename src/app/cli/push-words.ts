/** The messages of `docker push`. */
import type { LayerLine } from './layer-bars.ts';
import { retryLine, type LayerProgress, type Words } from './registry-display.ts';

const PUSHING = 'Pushing';

export const PUSH_WORDS: Words = {
  say(event) {
    if (event.type === 'pushing') return `The push refers to repository [${event.repository}]`;
    if (event.type !== 'pushed') return undefined;
    const tag = event.reference.slice(event.reference.lastIndexOf(':') + 1);
    return `${tag}: digest: ${event.digest} size: ${String(event.size)}`;
  },
  name: (event) => event.diffId ?? '',
  line: lineOf,
  fleeting: [PUSHING],
};

function lineOf(event: LayerProgress): LayerLine {
  const { current, total = 0 } = event;
  const line = (phase: string, rank: LayerLine['rank']): LayerLine => ({ phase, current, total, rank });
  switch (event.type) {
    case 'layer-preparing':
      return line('Preparing', 1);
    case 'layer-waiting':
      return line('Waiting', 1);
    case 'layer-exists':
      return line('Layer already exists', 2);
    case 'layer-mounted':
      return line(`Mounted from ${event.from}`, 2);
    case 'layer-done':
      return line('Pushed', 2);
    case 'layer-retry':
      return retryLine(event);
    case 'layer-start':
    case 'layer-progress':
      return line(PUSHING, 0);
  }
}
