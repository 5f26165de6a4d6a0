/** Lists of tags and of referrers, page by page. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../../../src/core/descriptor.ts';
import { digestOf } from '../../../../src/core/digest.ts';
import type { RepositoryClient } from '../../../../src/transfer/registry/client.ts';
import { rejection } from '../../../support/errors.ts';
import { HttpServer } from '../../../support/http-server.ts';
import { testClient } from '../../../support/registry-client.ts';

const subject = digestOf('an image');
const referrer = (text: string, artifactType?: string) => ({
  mediaType: MEDIA_TYPES.ociManifest,
  digest: digestOf(text),
  size: text.length,
  ...(artifactType !== undefined && { artifactType }),
});
const indexOf = (...manifests: object[]) =>
  JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests });
const OCI = { 'content-type': MEDIA_TYPES.ociIndex };

let server: HttpServer;
let client: RepositoryClient;

beforeEach(async () => {
  server = await HttpServer.start();
  client = testClient(`${server.host}/a/b`);
});
afterEach(async () => {
  await client.close();
  await server.stop();
});

async function tags(): Promise<string[]> {
  const found: string[] = [];
  for await (const tag of client.tags()) found.push(tag);
  return found;
}

describe('tags', () => {
  it.each([
    ['relative', (next: string) => `</v2/a/b/tags/list?n=1000&last=${next}>; rel="next"`],
    ['absolute', (next: string) => `<http://HOST/v2/a/b/tags/list?n=1000&last=${next}>; rel="next"`],
    [
      'without quotes, among others',
      (next: string) => `<x>; rel=prev, <list?n=1000&last=${next}>; title="a"; rel=next`,
    ],
  ])('come page by page, by %s links', async (_, link) => {
    server.answer = ({ path }, response) => {
      if (path === '/v2/') return response.end();
      const last = new URL(path, 'http://x').searchParams.get('last') ?? '';
      const page = { '': ['a', 'b'], b: ['c'], c: [] as string[] }[last];
      const next = last === '' ? 'b' : last === 'b' ? 'c' : undefined;
      if (next !== undefined) response.setHeader('link', link(next).replace('HOST', server.host));
      return response.end(JSON.stringify({ name: 'a/b', tags: page }));
    };
    expect(await tags()).toEqual(['a', 'b', 'c']);
    expect(server.log[0]).toBe('GET /v2/a/b/tags/list?n=1000');
  });

  it.each<[string, string[]]>([
    [
      'several header lines, it comes last',
      ['</v2/a/b/tags/list>; rel="first"', '<x>; rel="prev"', 'NEXT; rel="next"'],
    ],
    ['several header lines, it comes first', ['NEXT; rel="next"', '</v2/a/b/tags/list>; rel="last"']],
    ['a list of relations', ['<x>; rel="prev first", NEXT; rel="last next"']],
    [
      'parameters in another order, with commas and semicolons',
      ['NEXT; title="a, b; rel=\\"x\\""; REL=Next; n=1'],
    ],
    [
      'links of other documents before it',
      ['<x>; rel=next; anchor="/elsewhere", NEXT; rel="next"; anchor=""'],
    ],
  ])('come page by page, by %s', async (_, lines) => {
    server.answer = ({ path }, response) => {
      if (path === '/v2/') return response.end();
      const last = new URL(path, 'http://x').searchParams.get('last') ?? '';
      const page = { '': ['a', 'b'], 'b,1': ['c'], 'c,1': ['d'] }[last];
      const next = last === '' ? 'b,1' : last === 'b,1' ? 'c,1' : undefined;
      const links = lines.map((line) => line.replace('NEXT', `<?n=1000;x&last=${next ?? ''}>`));
      if (next !== undefined) response.setHeader('link', links);
      return response.end(JSON.stringify({ name: 'a/b', tags: page }));
    };
    expect(await tags()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('may be none', async () => {
    server.answer = (_, response) => response.end('{"name":"a/b","tags":null}');
    expect(await tags()).toEqual([]);
  });

  it('are not read further than they are wanted', async () => {
    server.answer = (_, response) =>
      response.writeHead(200, { link: '<list?last=x>; rel="next"' }).end('{"tags":["a","b"]}');
    for await (const tag of client.tags({ origin: true })) {
      expect(tag).toBe('a');
      break;
    }
    expect(server.log).toHaveLength(1);
  });

  it.each<[string, Record<string, string>, string, string, RegExp]>([
    [
      'the same page for ever',
      { link: '<list?last=x>; rel="next"' },
      '{"tags":["a"]}',
      'ERR_REGISTRY_INVALID',
      /again and again/,
    ],
    [
      'a page elsewhere',
      { link: '<http://127.0.0.1:1/x>; rel="next"' },
      '{"tags":["a"]}',
      'ERR_REGISTRY_INVALID',
      /on another server/,
    ],
    ['no JSON', {}, '<html>', 'ERR_REGISTRY_INVALID', /not JSON/],
    ['numbers', {}, '{"tags":[1]}', 'ERR_REGISTRY_INVALID', /tags\[0\] is a number/],
    ['too much', {}, ' '.repeat(5_000_000), 'ERR_LIMIT_EXCEEDED', /more than 4194304 bytes/],
  ])('of a registry that sends %s are an error', async (_, headers, body, code, message) => {
    server.answer = ({ path }, response) =>
      path === '/v2/' ? response.end() : response.writeHead(200, headers).end(body);
    const error = await rejection(tags());
    expect(error).toMatchObject({ code, registry: server.host, repository: `${server.host}/a/b` });
    expect(error.message).toMatch(message);
  });
});

describe('referrers', () => {
  it('come by the API, page by page', async () => {
    const [a, b] = [referrer('a', 'application/spdx+json'), referrer('b')];
    server.answer = ({ path }, response) => {
      if (path === '/v2/') return response.end();
      if (path.endsWith('?page=2')) return response.writeHead(200, OCI).end(indexOf(b));
      return response.writeHead(200, { ...OCI, link: '<?page=2>; rel="next"' }).end(indexOf(a));
    };
    expect((await client.referrers(subject)).manifests).toMatchObject([a, b]);
    expect(server.log[0]).toBe(`GET /v2/a/b/referrers/${subject}`);
  });

  it.each([404, 405])('come by the tag that clients keep where there is no API (%s)', async (status) => {
    const a = referrer('a', 'application/spdx+json');
    server.answer = ({ path }, response) => {
      if (path.includes('/referrers/')) return response.writeHead(status).end('404 page not found');
      return response.writeHead(200, OCI).end(indexOf(a));
    };
    expect((await client.referrers(subject)).manifests).toMatchObject([a]);
    expect(server.log[1]).toBe(`GET /v2/a/b/manifests/${subject.replace(':', '-')}`);
  });

  it('are none where there is neither', async () => {
    server.answer = ({ path }, response) => response.writeHead(path === '/v2/' ? 200 : 404).end();
    expect((await client.referrers(subject)).manifests).toEqual([]);
  });

  it('that are no index are an error', async () => {
    server.answer = (_, response) =>
      response
        .writeHead(200, OCI)
        .end(JSON.stringify({ schemaVersion: 2, config: referrer('c'), layers: [] }));
    expect(await rejection(client.referrers(subject))).toMatchObject({ code: 'ERR_REGISTRY_INVALID' });
  });
});

describe('a manifest is deleted', () => {
  it('by its digest', async () => {
    server.answer = (_, response) => response.writeHead(202).end();
    await client.deleteManifest(subject);
    expect(server.log).toEqual([`DELETE /v2/a/b/manifests/${subject}`]);
  });

  it('not where the registry does not delete, which says how it would', async () => {
    server.answer = ({ path }, response) =>
      path === '/v2/'
        ? response.end()
        : response
            .writeHead(405)
            .end('{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}');
    const error = await rejection(client.deleteManifest(subject));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNSUPPORTED', status: 405, digest: subject });
    expect(error.message).toMatch(/REGISTRY_STORAGE_DELETE_ENABLED=true.*garbage-collect/);
  });
});
