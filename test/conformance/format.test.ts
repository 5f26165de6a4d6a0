/** `--format` compared with docker's client, template by template, both on the store of one dockerd. */
import { readFileSync, writeFileSync } from 'node:fs';
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
  'raw',
  'table {{split .Repository "/"}}\\t{{join (split .Tag "") "."}}',
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
  'raw',
  '{{json .Comment}} {{.Size}} {{.CreatedAt}}',
  '{{.Nope}}',
];
const CONTAINERS = [
  '{{.ID}} {{.Names}} {{.Image}}',
  'table {{.Names}}\\t{{.Image}}\\t{{.Command}}\\t{{.State}}',
  '{{.Label "k"}}|{{.Label "team"}}|{{.Label "nope"}}|{{len .Labels}}',
  '{{.Status}} {{json .Names}}',
  'raw',
  '{{.Ports}}|{{.Networks}}|{{.LocalVolumes}}|{{.Mounts}}',
  'table {{.Names}}\\t{{.Ports}}\\t{{.Mounts}}\\t{{.LocalVolumes}}\\t{{.Networks}}',
  'table {{split .Names "x"}}\\t{{join (split .Names "x") "-"}}\\t{{title .Names}}',
  '{{range split .Ports ", "}}<{{.}}>{{end}}',
  '{{.Command}}',
  '{{.Nope}}',
];

/** As a daemon notes them. */
const PORTS = {
  '80/tcp': [
    { HostIp: '0.0.0.0', HostPort: '80' },
    { HostIp: '0.0.0.0', HostPort: '8080' },
  ],
  '81/tcp': [{ HostIp: '0.0.0.0', HostPort: '81' }],
  '443/tcp': [{ HostIp: '127.0.0.1', HostPort: '8443' }],
  '444/tcp': [{ HostIp: '127.0.0.1', HostPort: '444' }],
  '53/udp': null,
  '53/tcp': null,
  '54/tcp': null,
  '90/tcp': [],
  '9988/sctp': [{ HostIp: '10.0.0.1', HostPort: '9988' }],
};

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
    // Docker's list does not order names of one image, or images of one second.
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
    const create = (...args: string[]): Promise<string> =>
      docker.docker('create', '--network', 'none', ...args);
    await docker.docker('volume', 'create', 'data');
    await create(
      '-v',
      `${scratch}:/a/mount`,
      '-l',
      'z=1',
      '-l',
      'a=2',
      '--name',
      'bound',
      'app:1',
      'a',
      'b\u0007"c',
    );
    await create(
      '-v',
      'data:/data',
      '--name',
      'data-box',
      'app:1',
      'sh',
      '-c',
      'a command of more than twenty characters',
    );
    await create('-v', '/anonymous', '--tmpfs', '/t', '--name', 'anonymous-box', 'app:1');
    const open = await create('--name', 'open', 'app:1');
    // No daemon here has networks to publish ports on: what one notes of them is in the container's document.
    await docker.stop();
    const path = join(docker.root, 'containers', open, 'config.v2.json');
    const document = JSON.parse(readFileSync(path, 'utf8')) as { NetworkSettings: Record<string, unknown> };
    document.NetworkSettings['Ports'] = PORTS;
    writeFileSync(path, JSON.stringify(document));
    docker = await Dockerd.start(docker.root);
  });

  afterAll(async () => {
    await docker.stop();
    await dropScratch(scratch);
  });

  async function compare(ours: string[], theirs: string[]): Promise<void> {
    const [mine, dockers] = [await layerstack.try(ours), await docker.try(...theirs)];
    // If no object could be inspected, docker prints an empty line.
    const text = (ran: Ran): string => inOrder(ageless(ran.status === 0 ? ran.stdout : ran.stdout.trim()));
    expect({ failed: mine.status !== 0, text: text(mine) }).toEqual({
      failed: dockers.status !== 0,
      text: text(dockers),
    });
    if (dockers.status === 0) return;
    expect(mine.status).toBe(2);
    expect(complaint(mine.stderr)).toBe(complaint(dockers.stderr));
  }

  test.each(CONTAINERS)('containers --no-trunc %s', (format) =>
    compare(['containers', '--no-trunc', '--format', format], ['ps', '-a', '--no-trunc', '--format', format]),
  );
  test('ports, mounts and networks are there to be compared', async () => {
    const format = ['--format', '{{.Names}}: {{.Ports}}; {{.Mounts}}; {{.LocalVolumes}}; {{.Networks}}'];
    const lines = (await layerstack.run('containers', '--no-trunc', ...format)).split('\n');
    expect(lines).toContain(
      'open: 53-54/tcp, 90/tcp, 53/udp, 0.0.0.0:80-81->80-81/tcp, 127.0.0.1:444->444/tcp, ' +
        '10.0.0.1:9988->9988/sctp, 0.0.0.0:8080->80/tcp, 127.0.0.1:8443->443/tcp; ; 0; none',
    );
    expect(lines).toContain(`bound: ; ${scratch}; 0; none`);
    expect(lines).toContain('data-box: ; data; 1; none');
  });
  test('raw with the options that change it', async () => {
    await compare(['images', '-q', '--format', 'raw'], ['images', '-q', '--format', 'raw']);
    await compare(['images', '--digests', '--format', 'raw'], ['images', '--digests', '--format', 'raw']);
    await compare(['containers', '-q', '--format', 'raw'], ['ps', '-aq', '--format', 'raw']);
  });
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
    const raw = ['df', '--format', 'raw'];
    const kinds = (text: string): string[] =>
      text
        .split('\n\n')
        .filter((block) => /^\n?type: (Images|Containers)\n/.test(block))
        .map((block) => block.trim().replace(/^(size|reclaimable): .*/gm, '$1'));
    const ofRaw = kinds(await layerstack.run(...raw));
    expect(ofRaw).toEqual(kinds(await docker.docker('system', ...raw)));
    expect(ofRaw).toHaveLength(2);
  });
});

/** The two programs do not run in the same second. */
function ageless(text: string): string {
  return text.replace(/(?:\d+ (?:seconds?|minutes)|About a minute|Less than a second)( ago)? */g, 'AGE ');
}

/** Older clients have labels in no order. */
function inOrder(text: string): string {
  return text.replace(
    /^labels: (.*)$/gm,
    (_, labels: string) => `labels: ${labels.split(',').sort().join(',')}`,
  );
}

/** Returns the kind of an error: the words of Go's versions differ a little. */
function complaint(stderr: string): string {
  const text = stderr.trim().split('\n')[0] ?? '';
  const stage = /template parsing error|failed to execute template/i.test(text)
    ? 'template parsing error'
    : text;
  return `${stage} ${/executing/.test(text) ? 'executing' : 'parsing'} ${/<[^>]*>/.exec(/executing ""( at .*)/.exec(text)?.[1] ?? '')?.[0] ?? ''}`;
}
