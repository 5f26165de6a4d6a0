import { describe, expect, it } from 'vitest';
import { proxyFor, type Environment } from '../../../../src/transfer/registry/proxy.ts';
import { codeOf } from '../../../support/errors.ts';

const ENV = { HTTPS_PROXY: 'http://secure:1', HTTP_PROXY: 'http://plain:2' };
const proxied = (url: string, env: Environment) => proxyFor(new URL(url), env)?.href;

describe('the proxy of the environment', () => {
  it.each<[string, Environment, string | undefined]>([
    ['https://r.example/v2/', ENV, 'http://secure:1/'],
    ['http://r.example/v2/', ENV, 'http://plain:2/'],
    ['https://r.example/', { https_proxy: 'http://lower:1' }, 'http://lower:1/'],
    ['http://r.example/', { http_proxy: 'http://lower:1' }, 'http://lower:1/'],
    ['http://r.example/', { HTTPS_PROXY: 'http://secure:1' }, undefined],
    ['https://r.example/', {}, undefined],
    ['https://r.example/', { HTTPS_PROXY: '', https_proxy: 'lower:1' }, 'http://lower:1/'],
    ['https://r.example/', { HTTPS_PROXY: 'proxy:3128' }, 'http://proxy:3128/'],
    ['https://r.example/', { HTTPS_PROXY: 'https://u:p@proxy' }, 'https://u:p@proxy/'],
  ])('%s with %j', (url, env, proxy) => {
    expect(proxied(url, env)).toBe(proxy);
  });

  it.each(['http://localhost:5000/', 'https://127.0.0.1/', 'http://[::1]:5000/'])('is not for %s', (url) => {
    expect(proxied(url, ENV)).toBeUndefined();
  });

  it.each<[string, string, boolean]>([
    ['*', 'r.example', true],
    ['example', 'r.example', true],
    ['r.example', 'r.example', true],
    ['R.EXAMPLE', 'r.example', true],
    ['.example', 'r.example', true],
    ['*.example', 'r.example', true],
    ['.r.example', 'r.example', false],
    ['xample', 'r.example', false],
    ['r.example:443', 'r.example', true],
    ['r.example:5000', 'r.example', false],
    ['r.example:5000', 'r.example:5000', true],
    ['10.0.0.0/8', '10.1.2.3', true],
    ['10.0.0.0/8', '11.1.2.3', false],
    ['10.1.2.3', '10.1.2.3:5000', true],
    ['fd00::/8', '[fd00::1]', true],
    ['[fd00::1]:443', '[fd00::1]', true],
    ['10.0.0.0/99', '10.1.2.3', false],
    [' a , r.example ,', 'r.example', true],
    ['', 'r.example', false],
  ])('NO_PROXY=%s takes out %s: %s', (list, host, out) => {
    expect(proxied(`https://${host}/`, { ...ENV, NO_PROXY: list }) === undefined).toBe(out);
    expect(proxied(`https://${host}/`, { ...ENV, no_proxy: list }) === undefined).toBe(out);
  });

  it('CVE-2016-5385: does not come from a Proxy header that a web server has passed on', () => {
    expect(
      proxied('http://r.example/', { HTTP_PROXY: 'http://evil:1', REQUEST_METHOD: 'GET' }),
    ).toBeUndefined();
  });

  it('that is malformed is refused, without showing its password', () => {
    for (const value of ['socks5://u:hunter2@x:1', 'http://', 'http://u:hunter2@', 'http://u:hunter2%@x:1'])
      expect(codeOf(() => proxied('https://r.example/', { HTTPS_PROXY: value }))).toBe(
        'ERR_REGISTRY_SETTINGS',
      );
    expect(() => proxied('https://r.example/', { HTTPS_PROXY: 'socks5://u:hunter2@x:1' })).toThrow(
      /^(?!.*hunter2).*HTTPS_PROXY/,
    );
  });
});
