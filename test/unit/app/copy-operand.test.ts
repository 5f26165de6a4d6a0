/** The operands of `cp`: containers, archives and paths of the host are told apart by their text alone. */
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/app/cli/command.ts';
import { parseCopyOperand } from '../../../src/app/cli/copy-operand.ts';

const read = (text: string): string[] => {
  const { owner, name, path } = parseCopyOperand(text);
  return [owner, name, path];
};

describe('an operand of cp', () => {
  it.each([
    ['build:/etc', 'build', '/etc'],
    ['build:etc', 'build', 'etc'],
    ['app.tar:/etc', 'app.tar', '/etc'],
    ['build:', 'build', ''],
    ['build:/a:/b', 'build', '/a:/b'],
    ['build:mirror/http://x', 'build', 'mirror/http://x'],
  ])('%s is in a container', (text, name, path) => {
    expect(read(text)).toEqual(['container', name, path]);
  });

  it.each([
    ['./app.tar:/etc', './app.tar', '/etc'],
    ['../app.tar:/', '../app.tar', '/'],
    ['.:/etc', '.', '/etc'],
    ['/srv/app.tar:/etc/.', '/srv/app.tar', '/etc/.'],
    ['images/app.tar:/etc', 'images/app.tar', '/etc'],
    ['./app:1.tar:/a:/b', './app:1.tar', '/a:/b'],
  ])('%s is in an archive', (text, name, path) => {
    expect(read(text)).toEqual(['archive', name, path]);
  });

  it.each(['-', 'file', '.', './a:b', '/a:b', '../a:b/c', 'directory/file'])('%s is on the host', (text) => {
    expect(read(text)).toEqual(['host', '', text]);
  });

  it.each(['', ':/etc', ':x'])('%j is refused', (text) => {
    expect(() => parseCopyOperand(text)).toThrow(UsageError);
  });
});
