/**
 * Metrics of the process: event loop delay, memory, descriptors, CPU time. Their names follow Prometheus's
 * conventions.
 */
import { readdir, readFile } from 'node:fs/promises';
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks';
import { packageVersion } from '../../system/package-version.ts';
import type { Metrics } from './metrics.ts';

const RESOLUTION_MS = 10;
const NANOSECONDS = 1e9;
const PERCENTILES = [50, 90, 99] as const;

const BUILD_LABELS = ['version', 'node', 'arch'] as const;

/** Watches the event loop until the returned function is called. */
export function watchProcess(metrics: Metrics): () => void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const lateness = metrics.gauge(
    'layerstack_event_loop_delay_seconds',
    'How late timers were since the last scrape.',
    ['percentile'],
  );
  const resident = metrics.gauge('process_resident_memory_bytes', 'Resident memory.');
  const heap = metrics.gauge('nodejs_heap_used_bytes', 'JavaScript objects, including garbage.');
  const external = metrics.gauge(
    'nodejs_external_memory_bytes',
    'Buffers and other memory outside the heap.',
  );
  const open = metrics.gauge('process_open_fds', 'Open file descriptors.');
  const most = metrics.gauge('process_max_fds', 'File descriptors that may be open.');
  const cpu = metrics.counter('process_cpu_seconds_total', 'CPU time of all threads.');
  const started = metrics.gauge(
    'process_start_time_seconds',
    'When the process started, in seconds since 1970.',
  );
  started.set(Math.round(Date.now() / 1000 - process.uptime()));
  const build = metrics.gauge(
    'layerstack_build_info',
    'Always 1; the labels name the version.',
    BUILD_LABELS,
  );
  build.set(1, packageVersion(), process.version, process.arch);
  let counted = 0;

  metrics.before(async () => {
    for (const percentile of PERCENTILES)
      lateness.set(late(delay.percentile(percentile)), String(percentile));
    lateness.set(late(delay.max), '100');
    delay.reset();
    const memory = process.memoryUsage();
    resident.set(memory.rss);
    heap.set(memory.heapUsed);
    external.set(memory.external + memory.arrayBuffers);
    const { user, system } = process.cpuUsage();
    const seconds = (user + system) / 1e6;
    cpu.add(seconds - counted);
    counted = seconds;
    open.set((await readdir('/proc/self/fd')).length);
    const limit = /^Max open files\s+(\d+)/m.exec(await readFile('/proc/self/limits', 'utf8'))?.[1];
    if (limit !== undefined) most.set(Number(limit));
  });
  return () => delay.disable();
}

/** The histogram holds whole intervals. A timer that fired on time counts as 0. */
function late(nanoseconds: IntervalHistogram['max']): number {
  return Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / NANOSECONDS - RESOLUTION_MS / 1000) : 0;
}
