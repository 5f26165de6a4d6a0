/** Prometheus's text form, and the bound of what is kept. */
import { expect, it } from 'vitest';
import { Metrics } from '../../../../src/app/service/metrics.ts';

it('prints families in the form that Prometheus reads', async () => {
  const metrics = new Metrics();
  const counter = metrics.counter('c_total', 'Counts.', ['a', 'b']);
  counter.add(1, 'x', 'a "quoted"\\ line\n');
  counter.add(2, 'x', 'a "quoted"\\ line\n');
  metrics.gauge('g', 'Now.').set(1.5);
  const histogram = metrics.histogram('h_seconds', 'Spread.', ['r'], [1, 10]);
  for (const value of [0.5, 1, 5, 50]) histogram.observe(value, 'y');
  expect(await metrics.text()).toBe(
    [
      '# HELP c_total Counts.',
      '# TYPE c_total counter',
      'c_total{a="x",b="a \\"quoted\\"\\\\ line\\n"} 3',
      '# HELP g Now.',
      '# TYPE g gauge',
      'g 1.5',
      '# HELP h_seconds Spread.',
      '# TYPE h_seconds histogram',
      'h_seconds_bucket{r="y",le="1"} 2',
      'h_seconds_bucket{r="y",le="10"} 3',
      'h_seconds_bucket{r="y",le="+Inf"} 4',
      'h_seconds_sum{r="y"} 56.5',
      'h_seconds_count{r="y"} 4',
      '',
    ].join('\n'),
  );
});

it('counts label sets beyond its bound together, without losing any', async () => {
  const metrics = new Metrics();
  const counter = metrics.counter('c_total', 'Counts.', ['route']);
  for (let number = 0; number < 5000; number++) counter.add(1, `/${number}`);
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('c_total{'));
  expect(lines).toHaveLength(1001);
  expect(lines.at(-1)).toBe('c_total{route="other"} 4000');
});

it('brings gauges up to date before it prints', async () => {
  const metrics = new Metrics();
  const gauge = metrics.gauge('g', 'Now.');
  let now = 0;
  metrics.before(() => gauge.set(++now));
  expect(await metrics.text()).toContain('g 1\n');
  expect(await metrics.text()).toContain('g 2\n');
});
