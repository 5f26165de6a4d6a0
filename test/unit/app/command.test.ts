import { describe, expect, it } from 'vitest';
import { parseOptions, UsageError } from '../../../src/app/cli/command.ts';
import { VERBS } from '../../../src/app/cli/commands/index.ts';
import { describeError } from '../../../src/app/cli/errors.ts';
import { commandHelp, programHelp } from '../../../src/app/cli/help.ts';
import { LayerstackError } from '../../../src/core/errors.ts';

const specs = {
  name: { type: 'string', help: '' },
  env: { type: 'string', short: 'e', multiple: true, help: '' },
  quiet: { type: 'boolean', short: 'q', help: '' },
} as const;

describe('parseOptions', () => {
  it('finds options anywhere, unless operands end them', () => {
    const args = ['-q', 'image', '--name', 'x', '-e', 'A=1', '-e', 'B=2'];
    expect(parseOptions(args, specs)).toEqual({
      values: { quiet: true, name: 'x', env: ['A=1', 'B=2'] },
      operands: ['image'],
    });
    expect(parseOptions(args, specs, true)).toEqual({
      values: { quiet: true },
      operands: ['image', '--name', 'x', '-e', 'A=1', '-e', 'B=2'],
    });
  });

  it('does not take the value of an option for an operand', () => {
    expect(parseOptions(['--name', 'x', '-e', 'A=1', 'image', 'sh', '-c', 'y'], specs, true)).toEqual({
      values: { name: 'x', env: ['A=1'] },
      operands: ['image', 'sh', '-c', 'y'],
    });
  });

  it('ends options at --', () => {
    expect(parseOptions(['-q', '--', '-e'], specs, true)).toEqual({
      values: { quiet: true },
      operands: ['-e'],
    });
    expect(parseOptions(['-q', '--', '-e'], specs)).toEqual({ values: { quiet: true }, operands: ['-e'] });
  });

  it.each([[['--nope']], [['--name']], [['-z']], [['--quiet=1']]])(
    'refuses %j as misuse, in one line',
    (args) => {
      expect(() => parseOptions(args, specs)).toThrow(UsageError);
      try {
        parseOptions(args, specs);
      } catch (error) {
        expect((error as Error).message).not.toContain('\n');
      }
    },
  );
});

describe('describeError', () => {
  it('gives code, text and status', () => {
    expect(describeError(new UsageError('too few'))).toEqual({
      line: 'layerstack: ERR_USAGE: too few',
      status: 2,
    });
    expect(describeError(new LayerstackError('ERR_IMAGE_NOT_FOUND', 'no such image: x'))).toEqual({
      line: 'layerstack: ERR_IMAGE_NOT_FOUND: no such image: x',
      status: 1,
    });
  });

  it('is one line without control characters, for any message', () => {
    const { line } = describeError(new LayerstackError('ERR_ARCHIVE_MEMBER', "member 'a\n\u001b[2Jb'"));
    expect(line).toBe("layerstack: ERR_ARCHIVE_MEMBER: member 'a ?[2Jb'");
  });

  it('recognises a full disk, and other system errors', () => {
    const system = (code: string) =>
      Object.assign(new Error(`${code}: text`), { errno: -1, code, syscall: 'x' });
    expect(describeError(system('ENOSPC')).line).toContain('ERR_NO_SPACE: ENOSPC');
    expect(describeError(system('EIO')).line).toContain('ERR_SYSTEM: EIO');
    expect(describeError(new TypeError('x is undefined')).line).toContain(
      'ERR_INTERNAL: x is undefined (this is a bug',
    );
  });

  it('ends with the status of the signal that aborted it', () => {
    const aborted = new LayerstackError('ERR_ABORTED', 'aborted');
    expect(describeError(aborted, 'SIGINT').status).toBe(1);
    expect(describeError(aborted, 'SIGTERM').status).toBe(1);
    expect(describeError(aborted).status).toBe(1);
  });
});

describe('help', () => {
  it('names every verb', () => {
    const text = programHelp(VERBS);
    for (const verb of Object.keys(VERBS)) expect(text).toMatch(new RegExp(`^  ${verb} `, 'm'));
  });

  it('names every option of every verb', async () => {
    for (const [verb, { load }] of Object.entries(VERBS)) {
      const { command } = await load();
      const text = commandHelp(verb, command);
      expect(text).toMatch(new RegExp(`^Usage: layerstack ${verb}`));
      for (const option of Object.keys(command.options)) expect(text).toContain(`--${option}`);
    }
  });
});
