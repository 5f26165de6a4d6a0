/** `layerstack scrub`: prints findings as `fsck` does. The command fails if the pass has found a problem. */
import { LayerstackError } from '../../../core/errors.ts';
import { writeScrubMetrics } from '../../scrub-metrics.ts';
import { defineCommand } from '../command.ts';
import { printFinding } from '../finding-line.ts';
import { formatBytes, parseBytes } from '../format.ts';
import { parseFormat } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    'Read all content at a bounded rate, and print what `fsck --deep` finds. A scrub that was interrupted continues where it\n' +
    'stopped. It repairs nothing, and works beside a running dockerd. The exit status is 1 if the pass has found a problem,\n' +
    'before or after an interruption. Notes do not count. packaging/systemd has a timer for it.',
  options: {
    rate: { type: 'string', value: 'BYTES', help: 'read at most this many bytes a second, e.g. 20M' },
    restart: { type: 'boolean', help: 'start a new pass, even after an interruption' },
    textfile: {
      type: 'string',
      value: 'FILE',
      kind: 'file',
      help: "write the results to FILE for Prometheus's textfile collector",
    },
    format: { type: 'string', value: 'json', help: 'one JSON document a line' },
  },
  operands: { min: 0, max: 0 },
  failure: 'or a problem was found',
  examples: [
    { command: 'layerstack scrub --rate 20M', does: 'reads 20 MiB a second at most' },
    {
      command: 'ionice -c 3 layerstack scrub --textfile /var/lib/node_exporter/layerstack.prom',
      does: 'reads while the disk is idle, and leaves the results to node_exporter',
    },
  ],
  async run(context, values) {
    const format = parseFormat(values.format);
    const rate = values.rate === undefined ? undefined : parseBytes('rate', values.rate);
    let seen = 0;
    const began = Date.now();
    await using store = await context.open({ readOnly: true });
    try {
      const scrub = store.scrub({ rate, restart: values.restart, signal: context.signal });
      for await (const finding of scrub) {
        printFinding(context, finding, format);
        if (finding.severity !== 'note') seen++;
      }
    } finally {
      if (values.textfile !== undefined) await writeScrubMetrics(store.root, values.textfile);
    }
    const { last } = await store.scrubStatus();
    // A disk that is full or read-only has kept the result of an older pass.
    const isKept = last != null && last.ended >= began;
    const wrong = isKept ? last.error + last.warning : seen;
    if (wrong > 0)
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `the scrub of ${context.root} has found ${wrong === 1 ? 'one problem' : `${wrong} problems`}: ` +
          '`layerstack fsck --deep --repair` repairs what can be repaired',
        { path: context.root },
      );
    if (format !== 'json')
      context.print(
        isKept
          ? `${String(last.layers)} layers with ${formatBytes(last.bytes, 4)} are intact`
          : 'All layers are intact. The result could not be kept: see the warning',
      );
  },
});
