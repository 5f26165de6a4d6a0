/** `--format` as docker's client carries it out, template by template, both on the store of one dockerd. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import type { Ran } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const IMAGES = [
  '{{.ID}}',
  '{{.Repository}}:{{.Tag}}',
  '{{.ID}}\\t{{.Size}}',
  'table {{.ID}}\\t{{.Repository}}\\t{{.Tag}}\\t{{.Size}}',
  'table {{.Repository}}\\t{{.CreatedSince}}\\t{{.CreatedAt}}',
  'table {{.ID}} {{.Tag}}',
  'table {{upper .Repository}}\\t{{json .Tag}}\\t{{truncate .ID 4}}',
  'table {{.Digest}}\\t{{.ID}}',
  '{{json .Repository}}',
  '{{json .Tag}} {{json .ID}}',
  '{{if eq .Tag "1"}}one{{else if eq .Tag "2"}}two{{else}}other{{end}}',
  '{{if and (ne .Repository "<none>") (gt (len .Repository) 3)}}{{.Repository}}{{end}}',
  '{{with .Repository}}{{.}}{{else}}none{{end}}',
  '{{$r := .Repository}}{{$t := .Tag}}{{$r}}/{{$t}}',
  '{{$a := 1}}{{if true}}{{$a = 2}}{{end}}{{$a}}',
  '{{printf "%-20s|%5s|" .Repository .Tag}}',
  '{{printf "%q %v %d %x" .Tag .Tag 42 255}}',
  '{{printf "%05d %+d %6.2f %t %%" 42 7 1.5 true}}',
  '{{printf "%d" .Tag}}',
  '{{printf "%s %s" .Tag}}',
  '{{printf "%s" .Tag .ID}}',
  '{{len .ID}}',
  '{{index (split .Repository "/") 0}}',
  '{{slice .ID 0 4}}',
  '{{range split .Repository "/"}}<{{.}}>{{end}}',
  '{{range $i, $e := split .Repository "/"}}{{$i}}={{$e}};{{end}}',
  '{{join (split .Repository "/") "-"}}',
  '{{title .Repository}} {{lower "ABC"}} {{upper .Repository}}',
  '{{pad .Tag 2 3}}|',
  '{{truncate .Repository 2}}',
  '{{println .Repository .Tag}}x',
  '{{.Repository | upper | printf "%s!"}}',
  '{{/* nothing to see */}}{{.Tag}}',
  'a   {{- .Tag -}}   b',
  '{{- /* trimmed */ -}} {{.Tag}}',
  '{{not true}} {{or "" .Tag}} {{and .Tag ""}}',
  '{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 1 2}} {{eq .Tag "1" "2"}} {{ne 1 2}}',
  '{{html "<a&b>"}} {{js "it\'s <b>"}} {{urlquery "a b/c"}}',
  '{{print 1 2 "a" "b" 3}}',
  '{{`raw`}} {{"quo\\u00e4ted"}} {{\'a\'}} {{0x10}} {{1.5}} {{1e3}}',
  '{{define "T"}}[{{.}}]{{end}}{{template "T" .Tag}}',
  '{{block "B" .Tag}}<{{.}}>{{end}}',
  '{{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.VirtualSize}}',
  'plain',
  '{{.Nope}}',
  '{{.ID.Deeper}}',
  '{{',
  '{{.ID',
  '{{if .ID}}x',
  '{{nofunc .ID}}',
  '{{end}}',
  '{{$x}}',
  '{{"open}}',
  '{{upper 3}}',
  '{{upper}}',
  '{{index .ID "x"}}',
  '{{eq .ID 1}}',
  '{{range .ID}}x{{end}}',
  '{{template "none"}}',
  '{{1 | 2}}',
  '{{}}',
  '{{.ID | }}',
  '{{slice .ID 5 2}}',
  '{{break}}',
];
const INSPECT = [
  '{{.Id}}',
  'table',
  '{{.RepoTags}}',
  '{{json .RepoTags}}',
  '{{index .RepoTags 0}}',
  '{{.Config.Env}}',
  '{{range .Config.Env}}{{println .}}{{end}}',
  '{{json .Config.Labels}}',
  '{{.Config.Labels}}',
  '{{.Config.Labels.team}}',
  '{{index .Config.Labels "team"}}',
  '{{.Config.Labels.nope}}',
  '{{index .Config.Labels "nope"}}',
  '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}},{{end}}',
  '{{join .Config.Cmd " "}}',
  '{{.Config.Entrypoint}}|{{.Config.Volumes}}|{{len .Config.Volumes}}',
  '{{json .Config.Entrypoint}}',
  '{{with .Config.Entrypoint}}x{{else}}none{{end}}',
  '{{.Os}}/{{.Architecture}} {{.Size}}',
  '{{len .RootFS.Layers}} {{.RootFS.Type}}',
  '{{json .RootFS}}',
  '{{.GraphDriver.Name}} {{len .GraphDriver.Data}}',
  '{{printf "%.3s" .Id}}',
  '{{gt .Size 1}} {{printf "%08d" .Size}}',
  '{{.Nope}}',
  '{{.Config.Nope}}',
];
const HISTORY = [
  '{{.ID}}',
  '{{.CreatedBy}}',
  'table {{.ID}}\\t{{.CreatedBy}}\\t{{.Size}}',
  '{{json .Comment}} {{.Size}} {{.CreatedAt}}',
  '{{.Nope}}',
];
const CONTAINERS = [
  '{{.ID}} {{.Names}} {{.Image}}',
  'table {{.Names}}\\t{{.Image}}\\t{{.Command}}\\t{{.State}}',
  '{{.Label "k"}}|{{.Label "team"}}|{{.Label "nope"}}|{{len .Labels}}',
  '{{.Status}} {{json .Names}}',
  '{{.Nope}}',
];

describe.runIf(havePeers('dockerd', 'docker'))('--format on one store', () => {
  let scratch: string;
  let docker: Dockerd;
  let layerstack: LayerstackCli;

  beforeAll(async () => {
    scratch = makeScratch('format');
    docker = await Dockerd.start(join(scratch, 'root'));
    layerstack = new LayerstackCli(join(scratch, 'root'), '--read-only');
    const input = tar([{ name: 'one', content: 'content' }]);
    await docker.dockerRun(
      [
        'import',
        ...['LABEL team=x stage=test', 'ENV A=b C=d', 'CMD ["echo","hi"]'].flatMap((each) => ['-c', each]),
        ...['-', 'app:1'],
      ],
      { input },
    );
    // Neither names of one image nor images of one second have an order in docker's list.
    for (const [name, content] of [
      ['host.example:5000/other/app:2', 'of app'],
      ['lib/tool:9', 'of tool'],
    ] as const) {
      await sleep(1100);
      await docker.dockerRun(['import', '-', name], { input: tar([{ name: 'file', content }]) });
    }
    await docker.docker(
      'create',
      '--network',
      'none',
      '--name',
      'box',
      '-l',
      'k=v',
      'app:1',
      'sh',
      '-c',
      'true',
    );
  });

  afterAll(async () => {
    await docker.stop();
    await dropScratch(scratch);
  });

  async function compare(ours: string[], theirs: string[]): Promise<void> {
    const [mine, dockers] = [await layerstack.try(ours), await docker.try(...theirs)];
    // Where nothing could be inspected docker prints an empty line.
    const text = (ran: Ran): string => ageless(ran.status === 0 ? ran.stdout : ran.stdout.trim());
    expect({ failed: mine.status !== 0, text: text(mine) }).toEqual({
      failed: dockers.status !== 0,
      text: text(dockers),
    });
    if (dockers.status === 0) return;
    expect(mine.status).toBe(2);
    expect(complaint(mine.stderr)).toBe(complaint(dockers.stderr));
  }

  test.each(IMAGES)('images %s', (format) =>
    compare(['images', '--no-trunc', '--format', format], ['images', '--no-trunc', '--format', format]),
  );
  test.each(INSPECT)('inspect %s', (format) =>
    compare(['inspect', '--format', format, 'app:1'], ['inspect', '--format', format, 'app:1']),
  );
  test.each(HISTORY)('history %s', (format) =>
    compare(['history', '--format', format, 'app:1'], ['history', '--format', format, 'app:1']),
  );
  test.each(CONTAINERS)('containers %s', (format) =>
    compare(['containers', '--format', format], ['ps', '-a', '--format', format]),
  );
  test('df: the rows that both have', async () => {
    const rows = ['df', '--format', '{{.Type}}: {{.TotalCount}} {{.Active}}'];
    const [mine, dockers] = [await layerstack.run(...rows), await docker.docker('system', ...rows)];
    const common = (text: string): string[] =>
      text.split('\n').filter((line) => /^(Images|Containers):/.test(line));
    expect(common(mine)).toEqual(common(dockers));
    expect(common(mine)).toHaveLength(2);
  });
});

/** The two programs are not asked in the same second. */
function ageless(text: string): string {
  return text.replace(/(?:\d+ (?:seconds?|minutes)|About a minute|Less than a second)( ago)? */g, 'AGE ');
}

/** The sort of complaint: the words of Go's versions differ a little. */
function complaint(stderr: string): string {
  const text = stderr.trim().split('\n')[0] ?? '';
  const stage = /template parsing error|failed to execute template/i.test(text)
    ? 'template parsing error'
    : text;
  return `${stage} ${/executing/.test(text) ? 'executing' : 'parsing'} ${/<[^>]*>/.exec(/executing ""( at .*)/.exec(text)?.[1] ?? '')?.[0] ?? ''}`;
}
