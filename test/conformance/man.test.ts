/** The manual pages: the verdict of mandoc, and their agreement with the declarations of the commands. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ALIASES, VERBS } from '../../src/app/cli/commands/index.ts';
import { GLOBAL_OPTIONS } from '../../src/app/cli/command.ts';
import { manPages } from '../../src/app/cli/man.ts';
import { havePeers } from '../support/peers.ts';
import { must, run } from '../support/process.ts';

const HOME = fileURLToPath(new URL('../../', import.meta.url));
const PAGES = join(HOME, 'dist/man');

const expected = ['layerstack.1', ...Object.keys(VERBS).map((verb) => `layerstack-${verb}.1`)].sort();
/** Returns the page as text, without bold and underlined letters. */
const read = async (name: string): Promise<string> =>
  (await must('mandoc', ['-T', 'utf8', '-O', 'width=500', join(PAGES, name)])).replace(/.[\b]/g, '');

describe.runIf(havePeers('mandoc'))('the manual pages', () => {
  it('exist for the program and for each verb, also in the package', () => {
    expect(readdirSync(PAGES).sort()).toEqual(expected);
    const { man } = JSON.parse(readFileSync(join(HOME, 'package.json'), 'utf8')) as { man: string[] };
    expect(man).toEqual(expected.map((name) => `dist/man/${name}`));
  });

  it.each(expected)('%s gives mandoc nothing to warn of', async (name) => {
    const { status, stdout, stderr } = await run('mandoc', [
      '-T',
      'lint',
      '-W',
      'warning',
      join(PAGES, name),
    ]);
    expect([status, stdout, stderr]).toEqual([0, '', '']);
  });

  it.each(Object.keys(VERBS))('layerstack-%s.1 says all that is declared', async (verb) => {
    const text = await read(`layerstack-${verb}.1`);
    const { command } = await (VERBS[verb] ?? expect.fail(verb)).load();
    expect(text).toContain(`layerstack-${verb} - ${VERBS[verb]?.summary ?? ''}`);
    for (const option of [...Object.keys(command.options), ...Object.keys(GLOBAL_OPTIONS)])
      expect(text).toMatch(new RegExp(`^ +(-\\w, )?--${option}( |$)`, 'm'));
    expect(command.examples.length).toBeGreaterThan(0);
    for (const { command: typed, does } of command.examples)
      for (const part of [typed, does]) expect(text.replace(/\s+/g, ' ')).toContain(part);
    for (const line of command.description.replaceAll('`', '').split('\n'))
      expect(text.replace(/\s+/g, ' ')).toContain(line.trim());
    for (const section of ['SYNOPSIS', 'DESCRIPTION', 'EXIT STATUS', 'EXAMPLES', 'SEE ALSO'])
      expect(text).toMatch(new RegExp(`^${section}$`, 'm'));
  });

  it('layerstack.1 names every verb, and its other names', async () => {
    const text = await read('layerstack.1');
    for (const [verb, { summary }] of Object.entries(VERBS)) {
      expect(text).toContain(`layerstack-${verb}(1)`);
      expect(text).toContain(summary);
    }
    for (const alias of Object.keys(ALIASES)) expect(text).toContain(`(also: ${alias})`);
  });

  it('escape all text, and have the requested date', async () => {
    const pages = await manPages({ version: '1.2.3-rc.1', date: '2001-02-03' });
    expect([...pages.keys()].sort()).toEqual(expected);
    for (const [name, text] of pages) {
      expect(text).toContain(' 1 2001-02-03 "layerstack 1.2.3\\-rc.1" "layerstack"');
      for (const line of text.split('\n').filter((each) => /^[.']/.test(each)))
        expect([name, line]).toEqual([name, expect.stringMatching(/^\.(?:TH|SH|TP|PP|B|BR|br)\b/)]);
    }
  });
});
