/** Log lines: what is printed, and what is not. */
import { closeSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { LogFile } from '../../../../src/app/service/log-file.ts';
import { ServiceLog, type LogFormat } from '../../../../src/app/service/logs.ts';

function logger(format: LogFormat) {
  const lines: string[] = [];
  const now = (): Date => new Date(0);
  return { lines, log: new ServiceLog({ level: 'info', format, write: (line) => lines.push(line), now }) };
}

async function scratch(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'layerstack-log-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  return directory;
}

it('prints JSON on one line, for any facts', () => {
  const { lines, log } = logger('json');
  log.info('a\nb', { error: new Error('x\ny'), path: '\u001b[31m', list: [1, { a: 1n }], none: undefined });
  expect(lines).toHaveLength(1);
  expect(lines[0]).not.toContain('\n');
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    time: '1970-01-01T00:00:00.000Z',
    level: 'info',
    message: 'a\nb',
    error: 'x\ny',
    path: '\u001b[31m',
    list: '[ 1, { a: 1n } ]',
  });
});

it('prints text that neither breaks a line nor drives a terminal', () => {
  const { lines, log } = logger('text');
  log.warn('a\nb', { path: '/x', text: 'two\u001b words' });
  expect(lines).toEqual(['1970-01-01T00:00:00.000Z WARN  a\\nb path=/x text="two\\u001b words"']);
});

it.each(['json', 'text'] as const)('prints %s in which hostile names do not control a terminal', (format) => {
  const evil = '\u009b2J\u007f\u202egpj\u200b\u2028x\ud800\u0085';
  const { lines, log } = logger(format);
  log.warn(evil, { [evil]: evil, error: new Error(evil), list: [evil] });
  expect(lines[0]).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
  if (format === 'json')
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ message: evil, [evil]: evil, error: evil });
});

it('leaves out records below its level, which may change', () => {
  const { lines, log } = logger('text');
  log.debug('one');
  log.level = 'debug';
  log.debug('two');
  log.level = 'error';
  log.warn('three');
  log.error('four');
  expect(lines.map((line) => line.split(' ').at(-1))).toEqual(['two', 'four']);
});

it('cuts long texts, and removes passwords and signatures from URLs', () => {
  const { lines, log } = logger('json');
  const error =
    'GET https://u:geheim@r.example/v2/?sig=geheim&digest=sha256:0: refused (see http://x.example/y).';
  log.error(error, { long: 'x'.repeat(10_000) });
  expect(lines[0]).not.toContain('geheim');
  expect(lines[0]).toContain(
    'https://r.example/v2/?sig=REDACTED&digest=sha256%3A0: refused (see http://x.example/y).',
  );
  expect(lines[0]?.length).toBeLessThan(5000);
});

it('writes lines in order, to a new file once the old one was moved away', async () => {
  const path = join(await scratch(), 'log');
  const file = new LogFile(path);
  for (let line = 0; line < 1000; line++) file.write(`before ${line}`);
  await file.flush();
  renameSync(path, `${path}.1`);
  await file.reopen();
  file.write('after');
  await file.flush();
  const before = readFileSync(`${path}.1`, 'utf8').split('\n').slice(0, -1);
  expect(before).toEqual(Array.from({ length: 1000 }, (_, line) => `before ${line}`));
  expect(readFileSync(path, 'utf8')).toBe('after\n');
});

it('drops and counts lines that are not taken, instead of keeping all of them', async () => {
  const full = openSync('/dev/full', 'w');
  onTestFinished(() => closeSync(full));
  expect(() => writeSync(full, 'x')).toThrow('ENOSPC');
  const file = new LogFile(full);
  for (let line = 0; line < 100; line++) file.write('x'.repeat(100_000));
  expect(file.dropped).toBeGreaterThan(50);
  await file.flush();
  file.write('goes on');
  await file.flush();
});
