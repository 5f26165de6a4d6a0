import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Aftermath } from '../../../src/system/aftermath.ts';
import { Layout } from '../../../src/system/layout.ts';
import { lockSession, Session } from '../../../src/system/session.ts';

let layout: Layout;

beforeEach(() => {
  layout = new Layout(mkdtempSync(join(tmpdir(), 'layerstack-session-')));
  mkdirSync(layout.at(layout.sessions), { recursive: true });
  mkdirSync(layout.at('overlay2'));
});

afterEach(() => {
  rmSync(layout.root, { recursive: true });
});

const sessions = (): string[] => readdirSync(layout.at(layout.sessions));
const files = (name: string): string[] => readdirSync(layout.at(layout.session(name))).sort();
const object = { op: 'mkdir', path: 'overlay2/x', mode: 0o710 } as const;

describe('Session', () => {
  it('costs nothing until something is marked, and leaves nothing', async () => {
    const session = new Session(layout);
    expect(sessions()).toEqual([]);
    await session.mark(['overlay2.x'], [object]);
    const [name] = sessions() as [string];
    expect(files(name)).toEqual(['lock', 'overlay2.x']);
    expect(readdirSync(layout.at('overlay2'))).toEqual(['x']);
    await session.unmark(['overlay2.x'], [{ op: 'rmdir', path: 'overlay2/x' }]);
    expect(files(name)).toEqual(['lock']);
    await session.close();
    await session.close();
    expect(sessions()).toEqual([]);
  });

  it('goes on, with all that is marked, when its directory was deleted', async () => {
    const session = new Session(layout);
    await session.mark(['overlay2.old', 'overlay2.gone'], [{ ...object, path: 'overlay2/gone' }]);
    rmSync(layout.at('layerstack'), { recursive: true });
    await session.unmark(['overlay2.gone'], [{ op: 'rmdir', path: 'overlay2/gone' }]);
    await Promise.all([session.mark(['overlay2.x'], [object]), session.mark(['container.y'])]);
    const [name] = sessions() as [string];
    expect(files(name)).toEqual(['container.y', 'lock', 'overlay2.old', 'overlay2.x']);
    expect(readdirSync(layout.at('overlay2')).filter((entry) => entry !== 'l')).toEqual(['x']);
    await expect(session.mark(['overlay2.z'], [{ ...object, path: 'no/z' }])).rejects.toThrow('ENOENT');
    await session.unmark(['container.y', 'overlay2.old', 'overlay2.x', 'overlay2.z']);
    await session.close();
    expect(sessions()).toEqual([]);
  });

  it('marks what is made while it is made, in one batch', async () => {
    const session = new Session(layout);
    const rename = { op: 'rename', from: 'overlay2/x', to: 'overlay2/y' } as const;
    expect(await session.during(['overlay2.x'], [object, rename])).toBe(true);
    const [name] = sessions() as [string];
    expect(files(name)).toEqual(['lock']);
    expect(readdirSync(layout.at('overlay2'))).toEqual(['y']);
    // What fails stays marked, until it is said to be gone.
    await expect(session.during(['overlay2.x'], [object, { ...object, path: 'no/z' }])).rejects.toThrow(
      'ENOENT',
    );
    expect(files(name)).toEqual(['lock', 'overlay2.x']);
    await session.unmark(['overlay2.x'], [{ op: 'rmdir', path: 'overlay2/x' }]);
    // One that was marked before stays no longer.
    await session.mark(['container.y']);
    await session.during(['container.y', 'overlay2.x'], [object]);
    expect(files(name)).toEqual(['lock']);
    rmSync(layout.at('layerstack'), { recursive: true });
    await session.during(['overlay2.z'], [{ ...object, path: 'overlay2/z' }]);
    expect(sessions().map(files)).toEqual([['lock']]);
    expect(readdirSync(layout.at('overlay2')).filter((entry) => entry !== 'l')).toEqual(['x', 'y', 'z']);
    await session.close();
    await expect(session.during(['overlay2.q'], [object])).rejects.toMatchObject({
      code: 'ERR_STORE_CLOSED',
    });
  });

  it('makes one directory for many marks at once', async () => {
    const session = new Session(layout);
    await Promise.all(['a', 'b', 'c'].map((id) => session.mark([`container.${id}`])));
    expect(sessions()).toHaveLength(1);
    await session.close();
  });

  it('keeps the marker when the object cannot be made', async () => {
    const session = new Session(layout);
    mkdirSync(layout.at('overlay2/x'));
    await expect(session.mark(['overlay2.x'], [object])).rejects.toMatchObject({ code: 'EEXIST' });
    const [name] = sessions() as [string];
    expect(files(name)).toContain('overlay2.x');
    await expect(session.unmark(['overlay2.x'], [{ op: 'rmdir', path: 'none' }])).rejects.toThrow('ENOENT');
    expect(files(name)).toContain('overlay2.x');
    await session.close();
  });

  it('has done what it was to do where a marker cannot be removed, and leaves it to the next writer', async () => {
    const warnings: string[] = [];
    const log = { warn: (message: string) => void warnings.push(message) };
    const session = new Session(layout, new Aftermath(layout.root, log));
    await session.mark(['overlay2.x', 'container.y'], [object]);
    const [name] = sessions() as [string];
    rmSync(layout.at(layout.session(name, 'overlay2.x')));
    mkdirSync(layout.at(layout.session(name, 'overlay2.x'))); // no unlink takes it away
    await session.unmark(['overlay2.x'], [{ op: 'rmdir', path: 'overlay2/x' }]);
    await session.unmark(['container.y']);
    expect(readdirSync(layout.at('overlay2'))).toEqual([]);
    await session.close();
    expect(files(name)).toEqual(['lock', 'overlay2.x']);
    expect(warnings).toEqual(['done, but a marker stays for the next writer']);
  });

  it('leaves itself to the next writer where it cannot be removed', async () => {
    const warnings: string[] = [];
    const log = { warn: (message: string) => void warnings.push(message) };
    const session = new Session(layout, new Aftermath(layout.root, log));
    await session.mark(['overlay2.x']);
    await session.unmark(['overlay2.x']);
    writeFileSync(layout.at(layout.session(sessions()[0] ?? '', 'foreign')), '');
    await session.close();
    expect(warnings).toEqual(['done, but the session of this process stays for the next writer']);
  });

  it('tells what fails behind a change, and throws what fails before it', async () => {
    const warnings: string[] = [];
    const log = { warn: (message: string) => void warnings.push(message) };
    const session = new Session(layout, new Aftermath(layout.root, log));
    const none = { op: 'rmdir', path: 'overlay2/none' } as const;
    expect(
      await session.mark(['overlay2.x'], [object], { steps: [none], otherwise: 'nothing is gone' }),
    ).toBe(false);
    expect(warnings).toEqual(['done, but nothing is gone']);
    await expect(
      session.mark(['overlay2.y'], [none], { steps: [{ ...object, path: 'overlay2/y' }], otherwise: '' }),
    ).rejects.toThrow('ENOENT');
    expect(readdirSync(layout.at('overlay2'))).toEqual(['x']);
    await session.close();
  });

  it('names the temporary files of what it replaces as long as they may be there', async () => {
    const session = new Session(layout);
    const replace = (path: string) => ({ op: 'replace', path, data: 'x', mode: 0o600 }) as const;
    await session.replace([replace('overlay2/one'), replace('overlay2/two')]);
    await expect(session.replace([replace('overlay2/three'), replace('none/four')])).rejects.toThrow(
      'ENOENT',
    );
    expect(readdirSync(layout.at('overlay2')).sort()).toEqual(['one', 'three', 'two']);
    expect(files(sessions()[0] ?? '')).toEqual(['lock']);
    const announced = await session.temporary('/somewhere/.tmp-file');
    const [, marker = ''] = files(sessions()[0] ?? '');
    expect(readlinkSync(layout.at(layout.session(sessions()[0] ?? '', marker)))).toBe('/somewhere/.tmp-file');
    await announced[Symbol.asyncDispose]();
    await session.close();
    expect(sessions()).toEqual([]);
  });

  it('has a lock that nobody else makes', async () => {
    mkdirSync(layout.at(layout.session('begun')));
    await expect(lockSession(layout.at(layout.session('begun')))).rejects.toMatchObject({ code: 'ENOENT' });
    expect(files('begun')).toEqual([]);
  });

  it('is locked while it lives, and left to the next writer with what is still marked', async () => {
    const session = new Session(layout);
    await session.mark(['overlay2.x']);
    const directory = layout.at(layout.session(sessions()[0] ?? ''));
    expect(await lockSession(directory)).toBeUndefined();
    await session.close();
    const lock = await lockSession(directory);
    expect(lock).toBeDefined();
    await lock?.close();
    expect(readdirSync(directory).sort()).toEqual(['lock', 'overlay2.x']);
    await expect(session.mark(['overlay2.y'])).rejects.toMatchObject({ code: 'ERR_STORE_CLOSED' });
  });

  it('starts again after it could not start', async () => {
    const session = new Session(layout);
    rmSync(layout.at(layout.sessions), { recursive: true });
    await expect(session.mark(['overlay2.x'])).rejects.toMatchObject({ code: 'ENOENT' });
    mkdirSync(layout.at(layout.sessions));
    await session.mark(['overlay2.x']);
    await session.unmark(['overlay2.x']);
    await session.close();
    expect(sessions()).toEqual([]);
  });
});
