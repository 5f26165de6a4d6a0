/** The one way to a terminal, and that nobody goes another one. */
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { formatTable, printJson, quoteName } from '../../../src/app/cli/output.ts';
import { Output } from '../../../src/app/cli/terminal.ts';

const SRC = fileURLToPath(new URL('../../../src', import.meta.url));
/** The way itself; and the library's own debug lines, which log.test.ts tries. */
const MAY_WRITE = ['app/cli/terminal.ts', 'system/log.ts'];
/** For readline, and for what befalls the streams. */
const MAY_HOLD = ['app/cli/prompt.ts', 'app/cli/main.ts'];

function outputTo(stream: { isTTY: boolean; columns?: number }): { output: Output; text: () => string } {
  let text = '';
  const write = (chunk: string): boolean => {
    text += chunk;
    return true;
  };
  const output = new Output({ ...stream, write } as unknown as NodeJS.WriteStream);
  return { output, text: () => text };
}

describe('a terminal', () => {
  it('gets each text as one harmless line', () => {
    const { output, text } = outputTo({ isTTY: true });
    output.print('a\nb\u001b[2J', '\t\t"tabs of a document": "\u009b"', 'c\td\r');
    expect(text()).toBe('a\\nb\\u001b[2J\n\t\t"tabs of a document": "\\u009b"\nc\\td\\r\n');
  });

  it('gets questions, bars and states in which foreign text does not move the cursor', () => {
    const { output, text } = outputTo({ isTTY: true, columns: 20 });
    output.prompt('who?\u001b[1A ');
    output.redrawLine('state\u0007\n');
    output.redrawBlock(['one\u202e', 'x'.repeat(100)], 3);
    expect(text()).toBe(
      'who?\\u001b[1A \r\u001b[Kstate\\u0007\\n' +
        `\r\u001b[3A\r\u001b[Kone\\u202e\n\r\u001b[K${'x'.repeat(19)}\n\u001b[J`,
    );
  });
});

describe('a pipe', () => {
  it('gets every byte', () => {
    const { output, text } = outputTo({ isTTY: false });
    output.print('a\nb\u001b[2J\u202e', '\u009b');
    output.print();
    expect(text()).toBe('a\nb\u001b[2J\u202e\n\u009b\n');
  });

  it('gets documents as they are', () => {
    const { output, text } = outputTo({ isTTY: false });
    const document = [{ a: 'x\ny\u001b\u2028\u009b' }];
    printJson({ print: (...lines) => output.print(...lines) }, document, 4);
    expect(text()).toBe(`${JSON.stringify(document, null, 4)}\n`);
  });
});

describe('a list of names', () => {
  it.each([
    ['/plain "name" \\ ', '/plain "name" \\ '],
    ['/a\nA /b', '"/a\\nA /b"'],
    ['\n', '"\\n"'],
    ['"q"\n\u001b\\', '"\\"q\\"\\n\\u001b\\\\"'],
    ['/no break\r\u001b[m', '/no break\r\u001b[m'],
  ])('has %j on one line', (name, shown) => {
    expect(quoteName(name)).toBe(shown);
  });

  it('is a table with a line for each row', () => {
    expect(formatTable(['A', 'B'], [['x\ny', 'z']])).toEqual(['A         B', '"x\\ny"    z']);
  });
});

/** Where a file reaches for the terminal itself: `process.stdout`, `console`, escape sequences. */
function reaches(path: string, text: string): string[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const at = (node: ts.Node, what: string): void => {
    found.push(`${path}:${String(source.getLineAndCharacterOfPosition(node.getStart()).line + 1)}: ${what}`);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const [object, name] = [node.expression.text, node.name.text];
      if (object === 'console' || (object === 'process' && /^(?:stdout|stderr|_rawDebug)$/.test(name)))
        at(node, `${object}.${name}`);
    }
    if (ts.isObjectBindingPattern(node) && /\b(?:stdout|stderr)\b.*=\s*process\b/.test(node.parent.getText()))
      at(node, 'process taken apart');
    if (ts.isImportDeclaration(node) && /^'node:(?:process|console)'$/.test(node.moduleSpecifier.getText()))
      at(node, node.moduleSpecifier.getText());
    if ((ts.isStringLiteralLike(node) || ts.isTemplateLiteralToken(node)) && node.text.includes('\u001b'))
      at(node, 'an escape sequence');
    if (
      ts.isPropertyAccessExpression(node) &&
      /\b(?:stdout|stderr|output)\.stream$/i.test(node.getText()) &&
      !MAY_HOLD.includes(path)
    )
      at(node, node.getText());
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

describe('the source', () => {
  it('writes to standard output and standard error in one place', async () => {
    const files = (await readdir(SRC, { recursive: true })).filter((name) => name.endsWith('.ts'));
    expect(files.length).toBeGreaterThan(100);
    const found: string[] = [];
    for (const name of files.filter((each) => !MAY_WRITE.includes(each)))
      found.push(...reaches(relative(SRC, join(SRC, name)), await readFile(join(SRC, name), 'utf8')));
    expect(found).toEqual([]);
  });

  it.each([
    `process.stdout.write('x')`,
    `const out = process.stderr`,
    `console.log('x')`,
    `const { stdout } = process`,
    `context.stderr.stream.write('x')`,
    `import { stdout } from 'node:process'`,
    'const clear = `\\r\\u001b[K${x}`',
    `const clear = '\\x1b[2J'`,
  ])('is searched for %s', (text) => {
    expect(reaches('x.ts', text)).toHaveLength(1);
  });
});
