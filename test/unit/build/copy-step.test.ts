/** What an instruction copies, and its step of the history. */
import { expect, test } from 'vitest';
import { BuildArgs } from '../../../src/build/args.ts';
import { parseCopy } from '../../../src/build/copy-instruction.ts';
import { copyComment, copyRequest, type CopyStep } from '../../../src/build/copy-step.ts';
import { parseDockerfile } from '../../../src/dockerfile/parse.ts';
import { WordBudget } from '../../../src/dockerfile/word-budget.ts';
import { EMPTY_CONTAINER_CONFIG } from '../../../src/image/container-config.ts';

async function requestOf(lines: readonly string[]): Promise<{ request: CopyStep; comment: string }> {
  const { escape, instructions } = parseDockerfile(lines.join('\n'));
  const [first] = instructions;
  if (first === undefined) throw new Error('the text has no instruction');
  const copy = parseCopy(first);
  const request = await copyRequest(
    copy,
    { directory: '/' },
    {
      ...{ config: EMPTY_CONTAINER_CONFIG, escape, budget: new WordBudget() },
      variables: new Map([['A', '5']]),
      rootfs: () => Promise.reject(new Error('numbers need no names')),
    },
  );
  return { request, comment: copyComment(copy, request, 'sha256:1') };
}

test('a heredoc has the escapes of a shell, whatever the file escapes with', async () => {
  const body = ['COPY <<E /x', '"$A" \\$A `', 'E'];
  for (const lines of [body, ['# escape=`', ...body]]) {
    const { request } = await requestOf(lines);
    expect(request.inline).toEqual([{ name: 'E', content: '"5" $A `\n' }]);
  }
});

test('the history has the owner with its variables filled in', async () => {
  const { request, comment } = await requestOf(['COPY --chown=$A:6 a /b']);
  expect(request.owner).toEqual({ uid: 5, gid: 6 });
  expect(comment).toBe('COPY --chown=5:6file:1 in /b ');
});

test('the arguments of RUN are sorted with their values, as in docker', () => {
  const platform = { os: 'linux', architecture: 'amd64' };
  const args = new BuildArgs({}, platform, platform).stage();
  for (const name of ['A', 'A-B', '0']) args.declare(name, '1');
  expect([...args.values([]).keys()]).toEqual(['0', 'A-B', 'A']);
});
