import { describe, expect, test } from 'vitest';
import { applyChanges } from '../../../src/dockerfile/changes.ts';
import { EMPTY_CONTAINER_CONFIG, type ContainerConfig } from '../../../src/image/container-config.ts';

/**
 * The changes that instructions make. The values are dockerd 20.10's (test/conformance/way-out.test.ts
 * compares).
 */
const changed = (...changes: string[]): Partial<ContainerConfig> => {
  const config = applyChanges(EMPTY_CONTAINER_CONFIG, changes);
  return Object.fromEntries(
    Object.entries(config).filter(
      ([key, value]) => value !== EMPTY_CONTAINER_CONFIG[key as keyof ContainerConfig],
    ),
  );
};

describe('applyChanges', () => {
  test.each<[string[], Partial<ContainerConfig>]>([
    [['CMD ["a", "b c"]'], { Cmd: ['a', 'b c'] }],
    [['cmd a "b" $C'], { Cmd: ['/bin/sh', '-c', 'a "b" $C'] }],
    [['CMD ["a" "b"]'], { Cmd: ['/bin/sh', '-c', '["a" "b"]'] }],
    [['CMD ["y"]', 'ENTRYPOINT ["x"]'], { Cmd: ['y'], Entrypoint: ['x'] }],
    [['ENTRYPOINT x'], { Entrypoint: ['/bin/sh', '-c', 'x'] }],
    [
      ['ENV A=1 B="2 3" C=\'4 $A\' D=5\\ 6', 'ENV A=$B/${C}x'],
      { Env: ['A=2 3/4 $Ax', 'B=2 3', 'C=4 $A', 'D=5 6'] },
    ],
    [['ENV A hello  world'], { Env: ['A=hello  world'] }],
    [['ENV A=$X${Y:-def}${Z:+no}', 'ENV B=${A:+yes}\\$A$'], { Env: ['A=def', 'B=yes$A$'] }],
    [['ENV A=b \\', 'C=d', '# comment'], { Env: ['A=b', 'C=d'] }],
    [['EXPOSE 80 443/UDP 90-92'], { ExposedPorts: ['443/udp', '80/tcp', '90/tcp', '91/tcp', '92/tcp'] }],
    [['ENV P="80 81"', 'EXPOSE $P'], { Env: ['P=80 81'], ExposedPorts: ['80/tcp', '81/tcp'] }],
    [
      ['LABEL b=2 "a c"=1', 'LABEL b=3'],
      {
        Labels: new Map([
          ['a c', '1'],
          ['b', '3'],
        ]),
      },
    ],
    [['ONBUILD RUN a  b'], { OnBuild: ['RUN a  b'] }],
    [['STOPSIGNAL SIGUSR1'], { StopSignal: 'SIGUSR1' }],
    [['STOPSIGNAL rtmin+3'], { StopSignal: 'rtmin+3' }],
    [['STOPSIGNAL 9'], { StopSignal: '9' }],
    [['USER a b'], { User: 'a b' }],
    [['VOLUME /b /a', 'VOLUME ["/c d"]'], { Volumes: ['/a', '/b', '/c d'] }],
    [['WORKDIR /a', 'WORKDIR b/../c/'], { WorkingDir: '/a/c' }],
    [['WORKDIR /a/b/../c/'], { WorkingDir: '/a/b/../c/' }],
  ])('%j', (changes, expected) => {
    expect(changed(...changes)).toEqual(expected);
  });

  test('a new entrypoint drops the command of the image, but not an earlier CMD', () => {
    const image = { ...EMPTY_CONTAINER_CONFIG, Cmd: ['old'] };
    expect(applyChanges(image, ['ENTRYPOINT ["x"]']).Cmd).toBeNull();
    expect(applyChanges(image, ['CMD ["new"]', 'ENTRYPOINT ["x"]']).Cmd).toEqual(['new']);
  });

  test('the shell of the image runs commands in shell form', () => {
    const image = { ...EMPTY_CONTAINER_CONFIG, Shell: ['/bin/bash', '-ec'] };
    expect(applyChanges(image, ['CMD x']).Cmd).toEqual(['/bin/bash', '-ec', 'x']);
  });

  test('without changes the config stays as it is', () => {
    expect(applyChanges(EMPTY_CONTAINER_CONFIG, [])).toBe(EMPTY_CONTAINER_CONFIG);
  });

  test.each<[string[], Partial<ContainerConfig>]>([
    [['LABEL a=b\\\\', 'ENV D=2'], { Labels: new Map([['a', 'b\\']]), Env: ['D=2'] }],
    [['LABEL a=b\\\\  ', 'ENV D=2'], { Labels: new Map([['a', 'b\\']]), Env: ['D=2'] }],
    [['LABEL a=b\\\\\\', 'ENV D=2'], { Labels: new Map([['a', 'b\\']]), Env: ['D=2'] }],
    [['ENV A=b\\', 'c'], { Env: ['A=bc'] }],
    [['ENV A=b \\ \t', ' # comment', '', '  C=d'], { Env: ['A=b', 'C=d'] }],
    [['# escape=`', 'ENV A=b``', 'ENV C=d `', 'E=\\n'], { Env: ['A=b`', 'C=d', 'E=\\n'] }],
  ])('%j: two escapes at the end of a line do not continue it, one does', (changes, expected) => {
    expect(changed(...changes)).toEqual(expected);
  });

  test.each([
    ['RUN x', 'it must be one of CMD, ENTRYPOINT'],
    ['CMD', 'needs an argument'],
    ['CMD ["a", 1]', 'only strings'],
    ['ENV A', 'two arguments'],
    ['ENV =x', 'a name is empty'],
    ['ENV A=b c', 'c is not of the form NAME=value'],
    ['ENV A=${B', 'is missing'],
    ['ENV A=${B:=x}', 'unsupported modifier'],
    ['ENV A="${B:?not set}"', 'B: not set'],
    ['ENV A="x', 'not closed'],
    ['EXPOSE 70000', 'not a port'],
    ['EXPOSE 82-80', 'not a port'],
    ['EXPOSE 80/xyz', 'not a port'],
    ['VOLUME [""]', 'must not be empty'],
    ['ONBUILD FROM x', 'FROM is not allowed'],
    ['STOPSIGNAL SIGNOTHING', 'is not a signal'],
    [' # nothing', 'no instruction'],
    ['CMD --flag x', 'CMD does not have the flag --flag'],
    ['# escape=x', 'escape token'],
  ])('refuses %s', (change, why) => {
    expect(() => applyChanges(EMPTY_CONTAINER_CONFIG, [change])).toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_ARGUMENT',
        message: expect.stringContaining(why) as string,
      }) as Error,
    );
  });
});
