/** The parts of a run that need no runtime: words of errors, names, terminals, signals, statuses. */
import { describe, expect, it } from 'vitest';
import { forwardSignals } from '../../../src/app/cli/run-signals.ts';
import { RUN_STATUSES } from '../../../src/app/cli/run-statuses.ts';
import { missingImage } from '../../../src/app/cli/missing-image.ts';
import { UsageError, type Context } from '../../../src/app/cli/command.ts';
import { parseRunName } from '../../../src/container/run/directory.ts';
import { ioOf, runResult } from '../../../src/container/run/options.ts';
import { findRuntime } from '../../../src/container/run/runtime.ts';
import { startErrorCode } from '../../../src/container/run/start.ts';
import { LayerstackError } from '../../../src/core/errors.ts';
import { bootId, processStart } from '../../../src/system/processes.ts';

describe('the error of a runtime', () => {
  it.each([
    ['exec: "nope": executable file not found in $PATH', 'ERR_COMMAND_NOT_FOUND'],
    ['exec: "/nope": stat /nope: no such file or directory', 'ERR_COMMAND_NOT_FOUND'],
    ['executable file `nope` not found in $PATH: No such file or directory', 'ERR_COMMAND_NOT_FOUND'],
    ['exec: "/etc": permission denied', 'ERR_COMMAND_DENIED'],
    ['exec: "/etc": is a directory', 'ERR_COMMAND_DENIED'],
    ['open executable: Operation not permitted', 'ERR_COMMAND_DENIED'],
    ['exec /script: exec format error', 'ERR_COMMAND_DENIED'],
    ['error mounting "/host" to rootfs: no such file or directory', 'ERR_RUNTIME'],
    ['setrlimit (RLIM_MEMLOCK): Operation not permitted', 'ERR_RUNTIME'],
    ['', 'ERR_RUNTIME'],
  ])('%j is %s', (message, code) => {
    expect(startErrorCode(message)).toBe(code);
  });
});

describe('the exit status', () => {
  it.each([
    ['ERR_COMMAND_DENIED', 126],
    ['ERR_COMMAND_NOT_FOUND', 127],
    ['ERR_RUNTIME', 125],
    ['ERR_IMAGE_NOT_FOUND', 125],
  ] as const)('of %s is %i', (code, status) => {
    expect(RUN_STATUSES.of(new LayerstackError(code, 'words'))).toBe(status);
  });

  it('of a wrong command line, and of a bug, is 125', () => {
    expect([RUN_STATUSES.of(new UsageError('words')), RUN_STATUSES.of(new TypeError('words'))]).toEqual([
      125, 125,
    ]);
  });

  it('is unknown for a command in the background', () => {
    const end = { status: 137, signal: 'SIGKILL' } as const;
    expect(runResult('id', end, false)).toEqual({ id: 'id', ...end });
    expect(runResult('id', end, true)).toEqual({ id: 'id', status: undefined, signal: undefined });
  });
});

describe('what a command reads and writes', () => {
  it('is nothing, streams, or never both a terminal and something else', () => {
    const streams = { stdout: process.stdout };
    expect(ioOf(false, {})).toEqual({});
    expect(ioOf(false, { streams })).toBe(streams);
    expect(ioOf(false, { streams, detach: true })).toBe('none');
    expect(() => ioOf(true, { detach: true })).toThrow('leave out tty (-t) or detach (-d)');
    expect(() => ioOf(true, { streams })).toThrow('cannot have streams');
  });
});

describe('the directory of a run', () => {
  it('says by its name whether the container goes with its command', () => {
    expect(parseRunName('abc')).toEqual({ id: 'abc', remove: false });
    expect(parseRunName('abc.rm')).toEqual({ id: 'abc', remove: true });
  });
});

describe('a runtime', () => {
  it('is found by its path, and a missing one is named', () => {
    expect(findRuntime('/bin/sh')).toBe('/bin/sh');
    expect(() => findRuntime('no-such-runtime')).toThrow('the runtime no-such-runtime is not installed');
    expect(() => findRuntime('/etc/passwd')).toThrow('/etc/passwd is not installed, or cannot be executed');
  });
});

describe('a process', () => {
  it('has a start, by which it differs from a later one with its id', () => {
    expect(bootId()).toMatch(/^[0-9a-f-]{36}$/);
    expect(processStart(process.pid)).toMatch(/^\d+$/);
    expect(processStart(process.pid)).toBe(processStart(process.pid));
    expect(processStart(process.ppid)).not.toBe(undefined);
    expect(processStart(2 ** 30)).toBeUndefined();
  });
});

describe('signals', () => {
  it('stop the preparations, and go to the command after its start', async () => {
    const stop = new AbortController();
    await using early = forwardSignals(stop.signal);
    stop.abort(new Error('SIGINT'));
    expect(early.preparing.aborted).toBe(true);

    const sent: string[] = [];
    const later = new AbortController();
    const before = process.listenerCount('SIGUSR2');
    {
      await using signals = forwardSignals(later.signal);
      signals.forwardTo({ id: '', leftOut: [], kill: (signal) => sent.push(signal) });
      later.abort(new Error('SIGTERM'));
      expect(signals.preparing.aborted).toBe(false);
      process.emit('SIGUSR2', 'SIGUSR2');
      expect(sent).toEqual(['SIGUSR2']);
    }
    expect(process.listenerCount('SIGUSR2')).toBe(before);
  });
});

describe('--pull', () => {
  it('refuses a policy that docker does not have', () => {
    const pull = { pull: 'sometimes', quiet: undefined, platform: undefined };
    expect(() => missingImage({} as Context, pull)).toThrow(UsageError);
  });
});
