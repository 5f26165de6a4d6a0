import { defineConfig } from 'vitest/config';
import { RerunReporter } from './test/support/rerun-reporter.ts';

const project = (name: string, testTimeout: number, options: object = {}) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout,
    hookTimeout: testTimeout,
    pool: 'forks' as const,
    ...options,
  },
});

// Where CI wants the results as JSON, beside what is printed.
const report = process.env['LAYERSTACK_TEST_REPORT'];

export default defineConfig({
  test: {
    reporters: ['default', new RerunReporter(), ...(report ? ['json'] : [])],
    ...(report ? { outputFile: { json: report } } : {}),
    projects: [
      project('unit', 20_000),
      // Its first tests compile the core under sanitizers.
      project('native', 1_200_000),
      project('integration', 120_000),
      project('api', 120_000, { globalSetup: ['test/api/support/setup.ts'] }),
      // One file at a time: each starts daemons of its own.
      project('conformance', 300_000, {
        fileParallelism: false,
        globalSetup: ['test/conformance/support/setup.ts'],
      }),
      // One file at a time, since its tests start many processes.
      project('crash', process.env['LAYERSTACK_CRASH'] === 'whole' ? 7_200_000 : 600_000, {
        fileParallelism: false,
      }),
      {
        test: {
          name: 'types',
          include: [],
          typecheck: { enabled: true, only: true, include: ['test/types/**/*.test-d.ts'] },
        },
      },
    ],
  },
});
