/** The plan of a build, and its bounds. */
import { expect, test } from 'vitest';
import { BuildArgs } from '../../../src/build/args.ts';
import { planStages } from '../../../src/build/plan.ts';
import { parseDockerfile } from '../../../src/dockerfile/parse.ts';

const PLATFORM = { os: 'linux', architecture: 'amd64' };

function plan(lines: readonly string[]): ReturnType<typeof planStages> {
  return planStages(parseDockerfile(lines.join('\n')), new BuildArgs({}, PLATFORM, PLATFORM));
}

test('a stage ends at the next FROM', () => {
  const stages = plan(['FROM a AS one', 'ENV A=1', 'FROM b', 'FROM one', 'COPY --from=1 a b']);
  expect(stages.map(({ instructions, needs }) => [instructions.length, ...needs])).toEqual([
    [1],
    [0],
    [1, 0, 1],
  ]);
});

test('a stage has at most 1000 instructions', () => {
  const many = Array.from({ length: 1000 }, () => 'ENV A=1');
  expect(plan(['FROM a', ...many, 'FROM b', ...many])).toHaveLength(2);
  expect(() => plan(['FROM a', ...many, 'ENV A=1'])).toThrow('its stage has more than 1000 instructions');
});

test('a variable in a mount is refused', () => {
  expect(() => plan(['FROM a', 'RUN --mount=type=cache,target=/c/$A x'])).toThrow(
    '--mount=type=cache,target=/c/$A: variables are not supported in a mount',
  );
});
