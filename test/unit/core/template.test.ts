import { describe, expect, it } from 'vitest';
import { TemplateError } from '../../../src/core/template/error.ts';
import { Template } from '../../../src/core/template/template.ts';

const DATA = { ID: 'abcdef', Env: ['A=1', 'B=2'], Labels: new Map([['team', 'x']]), Size: 1234 };

// The expected texts are what Go's text/template prints, with docker's functions.
describe('Template', () => {
  it.each([
    ['plain', 'plain'],
    ['{{.ID}} {{.Size}}', 'abcdef 1234'],
    ['{{.Env}} {{.Labels}}', '[A=1 B=2] map[team:x]'],
    ['{{range $i, $e := .Env}}{{if $i}},{{end}}{{$i}}:{{$e}}{{end}}', '0:A=1,1:B=2'],
    ['{{range .Env}}{{if eq . "B=2"}}{{break}}{{end}}{{.}}{{end}}', 'A=1'],
    ['{{with .Labels.nope}}x{{else}}none{{end}}', 'none'],
    ['{{json .Labels}}', '{"team":"x"}'],
    ['{{.ID | upper | printf "%-8s|" | len}}', '9'],
    ['{{.ID | }}', 'abcdef'],
    ['a {{- /* comment */ -}} b', 'ab'],
    ['{{define "T"}}<{{.}}>{{end}}{{template "T" .ID}}', '<abcdef>'],
    ['{{slice .ID 1 3}} {{index .Env 1}} {{join .Env "+"}}', 'bc B=2 A=1+B=2'],
  ])('%s', (text, printed) => {
    expect(new Template(text).execute(DATA)).toBe(printed);
  });

  it('leaves the names in the header of a table as they are', () => {
    const template = new Template(
      '{{split .ID "c"}} {{join (split .ID "c") "-"}} {{upper .ID}} {{pad .ID 1 1}}|',
    );
    expect(template.execute(DATA)).toBe('[ab def] ab-def ABCDEF  abcdef |');
    expect(template.header({ ID: 'ice cream' })).toBe('ice cream ice cream ice cream  ice cream |');
  });

  it.each([
    ['{{.Nope}}', 'template: :1:2: executing "" at <.Nope>: '],
    ['{{eq .ID 1}}', 'template: :1:2: executing "" at <eq .ID 1>: error calling eq: incompatible types'],
    [
      '{{slice .ID 5 2}}',
      'template: :1:2: executing "" at <slice .ID 5 2>: error calling slice: invalid slice index: 5 > 2',
    ],
    ['{{(slice .ID 5 2)}}', 'at <slice .ID 5 2>: '],
    ['{{index .Env "a rather long key"}}', 'at <index .Env "a rather...>: '],
    ['\n {{template "T"}}', 'template: :2:'],
  ])('%s fails as in Go', (text, message) => {
    const template = new Template(text);
    expect(() => template.execute(DATA)).toThrow(TemplateError);
    expect(() => template.execute(DATA)).toThrow(message);
  });

  it.each([
    '{{',
    '{{.ID',
    '{{}}',
    '{{ | .ID}}',
    '{{.ID | | .ID}}',
    '{{1 | 2}}',
    '{{end}}',
    '{{break}}',
    '{{$x}}',
    '{{nope}}',
  ])('%s is not a template', (text) => {
    expect(() => new Template(text)).toThrow(TemplateError);
  });

  it('cannot call itself forever', () => {
    const template = new Template('{{define "T"}}{{template "T"}}{{end}}{{template "T"}}');
    expect(() => template.execute(DATA)).toThrow('exceeded maximum template depth');
  });
});
