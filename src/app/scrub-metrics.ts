/**
 * Metrics of scrubs, from `layerstack/scrub.json`: in `/metrics` of the service, and in a file for the
 * textfile collector of Prometheus's node_exporter.
 */
import { rename, writeFile } from 'node:fs/promises';
import { SEVERITIES } from '../core/store-finding.ts';
import { Layout } from '../system/layout.ts';
import { readScrub } from './scrub-status.ts';
import { Metrics } from './service/metrics.ts';

/** Declares the gauges, and updates them before each scrape. */
export function watchScrub(metrics: Metrics, layout: Layout): void {
  const name = (rest: string): string => `layerstack_scrub_${rest}`;
  const ended = metrics.gauge(
    name('last_completed_timestamp_seconds'),
    'Time at which the last scrub was complete.',
  );
  const took = metrics.gauge(
    name('last_duration_seconds'),
    'Time from the start of the last scrub to its end.',
  );
  const checked = metrics.gauge(name('last_layers'), 'Layers that the last scrub has read.');
  const findings = metrics.gauge(name('findings'), 'Findings of the last scrub and of the current one.', [
    'pass',
    'severity',
  ]);
  const running = metrics.gauge(name('unfinished'), '1 while a scrub is under way or interrupted.');
  const progress = metrics.gauge(name('unfinished_layers'), 'Layers that the unfinished scrub has read.');
  const bytes = metrics.gauge(name('read_bytes'), 'Bytes of content that all scrubs have read.');
  metrics.before(async () => {
    const { pass, last, readBytes } = await readScrub(layout);
    ended.set((last?.ended ?? 0) / 1000);
    took.set(last === null ? 0 : (last.ended - last.began) / 1000);
    checked.set(last?.layers ?? 0);
    for (const severity of SEVERITIES) {
      findings.set(last?.[severity] ?? 0, 'last', severity);
      findings.set(pass?.[severity] ?? 0, 'current', severity);
    }
    running.set(pass === null ? 0 : 1);
    progress.set(pass?.layers ?? 0);
    bytes.set(readBytes);
  });
}

/** Writes the metrics to a file, which is replaced as a whole. */
export async function writeScrubMetrics(root: string, path: string): Promise<void> {
  const metrics = new Metrics();
  watchScrub(metrics, new Layout(root));
  const fresh = `${path}.${String(process.pid)}.new`;
  await writeFile(fresh, await metrics.text(), { mode: 0o644 });
  await rename(fresh, path);
}
