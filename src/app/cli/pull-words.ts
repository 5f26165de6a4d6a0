/** The messages of `docker pull`. */
import type { LayerLine } from './layer-bars.ts';
import { retryLine, type LayerProgress, type Words } from './registry-display.ts';

const PHASES = { verifying: 'Verifying', downloading: 'Downloading', extracting: 'Extracting' } as const;

export const PULL_WORDS: Words = {
  say(event) {
    if (event.type === 'pulling') return `${event.id}: Pulling from ${event.repository}`;
    return event.type === 'pulled' ? `Digest: ${event.digest}` : undefined;
  },
  name: (event) => event.blob ?? event.member ?? '',
  line: lineOf,
  fleeting: [],
};

function lineOf(event: LayerProgress): LayerLine | undefined {
  const { current, total = 0 } = event;
  const line = (phase: string, rank: LayerLine['rank']): LayerLine => ({ phase, current, total, rank });
  switch (event.type) {
    case 'layer-waiting':
      return line('Pulling fs layer', 1);
    case 'layer-exists':
      return line('Already exists', 2);
    case 'layer-done':
      return line('Pull complete', 2);
    case 'layer-retry':
      return retryLine(event);
    case 'layer-start':
      return line('Downloading', 0);
    case 'layer-progress':
      return line(PHASES[event.phase ?? 'downloading'], 0);
    case 'layer-preparing':
    case 'layer-mounted':
      return undefined;
  }
}
