/**
 * Control characters in names and texts of others: no verb writes them to a terminal, and no pipe changes
 * them.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HttpServer } from '../support/http-server.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { harmful, runOnTerminal } from '../support/terminal.ts';

/** Title, colour, C1, DEL, right-to-left, zero width, separators of lines, a bell. */
const EVIL = '\u001b]0;owned\u0007\u001b[31m\u009b2J\u007f\u202egpj\u200b\u2028x';
/** The same as it is shown. */
const SHOWN = '\\u001b]0;owned\\u0007\\u001b[31m\\u009b2J\\u007f\\u202egpj\\u200b\\u2028x';

let scratch: string;
let cli: LayerstackCli;
let server: HttpServer;

/** A verb on a terminal, which must stay unharmed. */
async function shown(...args: string[]): Promise<string> {
  const { text } = await runOnTerminal(process.execPath, cli.argv(...args));
  expect(harmful(text)).toEqual([]);
  return text;
}

const piped = (...args: string[]) => cli.try(args);

/** A document, or one a line. */
const documents = (text: string): unknown[] =>
  (text.startsWith('[') ? [text] : text.trimEnd().split('\n')).map((each) => JSON.parse(each) as unknown);

function archive(): Buffer {
  const layer = tar([
    { name: 'etc', type: 'directory' },
    { name: `etc/${EVIL}`, content: 'x' },
  ]);
  const config = {
    architecture: 'amd64',
    os: 'linux',
    created: '2024-01-02T03:04:05Z',
    author: EVIL,
    config: { Labels: { [EVIL]: `${EVIL}\n` }, Cmd: [`/bin/${EVIL}`] },
    history: [{ created: '2024-01-02T03:04:05Z', created_by: `RUN ${EVIL}\n0123 fake`, comment: EVIL }],
    rootfs: { type: 'layers', diff_ids: [`sha256:${createHash('sha256').update(layer).digest('hex')}`] },
  };
  const manifest = [{ Config: 'config.json', RepoTags: ['evil:1'], Layers: ['0.tar'] }];
  return tar([
    { name: '0.tar', content: layer },
    { name: 'config.json', content: JSON.stringify(config) },
    { name: 'manifest.json', content: JSON.stringify(manifest) },
  ]);
}

beforeAll(async () => {
  scratch = makeScratch('terminal');
  cli = new LayerstackCli(join(scratch, 'store'));
  server = await HttpServer.start(({ path }, response) => {
    if (path === '/v2/') return response.end();
    response.setHeader('Content-Type', 'application/json');
    if (path.startsWith('/v2/evil/tags/list'))
      return response.end(JSON.stringify({ name: 'evil', tags: ['1', EVIL, `a\nb${EVIL}`] }));
    response.statusCode = 403;
    response.end(JSON.stringify({ errors: [{ code: 'DENIED', message: `go away\n${EVIL}` }] }));
  });
  await cli.try(['load'], { input: archive() });
  await cli.run('create', '--name', 'box', 'evil:1');
  const merged = await cli.run('mount', 'box');
  writeFileSync(join(merged, `new ${EVIL}`), '');
  writeFileSync(join(merged, `two\nA lines`), '');
  mkdirSync(join(merged, `deep\t\n`));
});

afterAll(async () => {
  await server.stop();
  await dropScratch(scratch);
});

describe('on a terminal', () => {
  it('diff shows names harmlessly, one a line', async () => {
    const text = await shown('diff', 'box');
    expect(text.trimEnd().split('\n')).toEqual(['A "/deep\\t\\n"', `A /new ${SHOWN}`, 'A "/two\\nA lines"']);
  });

  it('history is one row for each step', async () => {
    const text = await shown('history', '--no-trunc', 'evil:1');
    expect(text.trimEnd().split('\n')).toHaveLength(2);
    expect(text).toContain('\\u202egpj');
  });

  it.each([
    [['inspect', 'evil:1']],
    [['inspect', '--format', 'json', 'box']],
    [['diff', '--format', 'json', 'box']],
    [['history', '--format', 'json', 'evil:1']],
  ])('%j is the same JSON', async (args) => {
    expect(documents(await shown(...args))).toEqual(documents((await piped(...args)).stdout));
  });

  it.each([
    ['containers', ['containers', '--no-trunc']],
    ['images', ['images', '-a', '--digests']],
    ['df', ['df', '-v']],
    ['tree', ['tree']],
    ['doctor', ['doctor']],
    ['containers as JSON', ['containers', '--format', 'json']],
    ['a path that is not there', ['cp', `box:/etc/${EVIL}/none`, '/nowhere']],
    ['a name that is not there', ['inspect', EVIL]],
    ['several names that are not there', ['rm', `${EVIL}\n`, EVIL]],
    ['a malformed name', ['create', `evil${EVIL}`]],
    ['a missing archive', ['load', '-i', `/nowhere/${EVIL}`]],
    ['a URL', ['import', `http://${EVIL}`]],
    ['a verb that is none', [EVIL]],
    ['an option that is none', ['images', `--${EVIL}`]],
    ['a filter that is none', ['images', '--filter', EVIL]],
    ['an output that cannot be', ['save', 'evil:1', '-o', `/nowhere/${EVIL}`]],
  ])('%s cannot control it', async (_, args) => {
    expect(await shown(...args)).not.toBe('');
  });

  it('findings of fsck are harmless, one a line', async () => {
    mkdirSync(join(scratch, 'store/overlay2', `${EVIL}\nnote: x: y`));
    const text = await shown('fsck');
    expect(text).toContain(SHOWN);
    expect(text).not.toMatch(/^note: x/m);
    expect((await piped('fsck')).stdout).not.toMatch(/^note: x/m);
  });

  it('tags and the words of a registry are harmless', async () => {
    const tags = await shown('tags', `${server.host}/evil`);
    expect(tags.trimEnd().split('\n')).toEqual(['1', SHOWN, `"a\\nb${SHOWN}"`]);
    for (const args of [
      ['pull', `${server.host}/other:1`],
      ['referrers', `${server.host}/other:1`],
      ['manifest', 'inspect', `${server.host}/other:1`],
      ['rm-remote', `${server.host}/other:1`],
      ['push', 'evil:1'],
    ])
      expect(await shown(...args)).not.toBe('');
    expect(await shown('pull', `${server.host}/other:1`)).toContain('go away');
  });

  it('warnings of a load and debug lines are harmless', async () => {
    const path = join(scratch, `${EVIL.replaceAll('/', '')}.tar`);
    const layer = tar([{ name: `${EVIL}socket`, type: 'fifo' }]);
    writeFileSync(path, layer);
    const { text } = await runOnTerminal(process.execPath, cli.argv('import', path, `bad${EVIL}`), {
      env: { LAYERSTACK_DEBUG: '1' },
    });
    expect(harmful(text)).toEqual([]);
    expect(text).toContain('layerstack: ERR_REFERENCE_INVALID');
  });
});

describe('in a pipe', () => {
  it('diff has every byte of a name, but quotes one that breaks the line', async () => {
    const { stdout } = await piped('diff', 'box');
    expect(stdout.split('\n')).toEqual(['A "/deep\\t\\n"', `A /new ${EVIL}`, 'A "/two\\nA lines"', '']);
  });

  it('JSON has the whole name', async () => {
    const { stdout } = await piped('diff', '--format', 'json', 'box');
    const paths = stdout
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { path: string }).path);
    expect(paths).toEqual(['/deep\t\n', `/new ${EVIL}`, '/two\nA lines']);
    expect(stdout).toContain(EVIL.slice(-8));
  });

  it('tags have every byte, one a line', async () => {
    const { stdout } = await piped('tags', `${server.host}/evil`);
    const quoted = JSON.stringify(`a\nb${EVIL}`);
    expect(stdout).toBe(`1\n${EVIL}\n${quoted}\n`);
  });

  it('history has every byte, one row for each step', async () => {
    const { stdout } = await piped('history', '--no-trunc', 'evil:1');
    expect(stdout.trimEnd().split('\n')).toHaveLength(2);
    expect(stdout).toContain(`   ${EVIL}`);
  });

  it('inspect is as JSON.stringify writes it', async () => {
    const { stdout } = await piped('inspect', 'evil:1');
    expect(stdout).toBe(`${JSON.stringify(JSON.parse(stdout), null, 4)}\n`);
    expect(stdout).toContain('\u202e');
  });
});
