/** Where a registry may send us, by where it is itself: the table of docs/architecture.md. */
import { describe, expect, it } from 'vitest';
import { LayerstackError } from '../../../../src/core/errors.ts';
import { AddressOutOfReach, Egress } from '../../../../src/transfer/registry/egress.ts';
import { testAccess, type TestAccess } from '../../../support/registry-client.ts';

const subject = { what: 'blob x', registry: 'the registry' };

function egressOf(host: string, hosts: TestAccess['hosts'] = {}): Egress {
  return new Egress(testAccess({ hosts }).settings, host);
}

/** What a request is refused with; undefined: it may be sent. */
function refusal(egress: Egress, target: string, method = 'GET'): string | undefined {
  try {
    egress.check(new URL(target), { method, subject });
    return undefined;
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_INVALID', registry: 'the registry' });
    expect(error.message).toMatch(/^blob x: the registry sends us to /);
    return error.message;
  }
}

const PLACES = {
  loopback: [
    'localhost',
    'x.localhost',
    '127.0.0.1:2375',
    '[::1]:80',
    '[::ffff:127.0.0.1]',
    '[64:ff9b::7f00:1]',
  ],
  'link-local': ['169.254.169.254', '[fe80::1]'],
  private: ['10.0.0.1', '192.168.1.1:9000', '172.17.0.1', '100.64.0.1', '[fd00::1]', '[2002:a00:1::]'],
  reserved: ['224.0.0.1', '[ff02::1]', '203.0.113.1', '[2001::1]'],
  public: ['8.8.8.8', '[2606:4700::1111]', 'storage.example'],
};

describe.each([
  ['localhost:5000', ['loopback', 'public']],
  ['127.0.0.1:5000', ['loopback', 'public']],
  ['[::1]:5000', ['loopback', 'public']],
  ['10.9.9.9:5000', ['private', 'public']],
  ['[fd00::9]:5000', ['private', 'public']],
  ['169.254.1.1', ['link-local', 'public']],
  ['9.9.9.9', ['public']],
  ['registry.example', ['public']],
  ['docker.io', ['public']],
])('a registry at %s', (host, open) => {
  it.each(Object.entries(PLACES))(`may send layerstack to its own networks: %s`, (place, targets) => {
    for (const target of targets)
      for (const method of ['GET', 'HEAD', 'POST', 'PATCH', 'PUT'])
        expect(refusal(egressOf(host), `https://${target}/x`, method) === undefined, target).toBe(
          open.includes(place),
        );
  });

  it('may have layerstack delete only at itself', () => {
    const egress = egressOf(host);
    expect(refusal(egress, `https://${host}/v2/x`, 'DELETE')).toBeUndefined();
    for (const target of Object.values(PLACES).flat())
      expect(refusal(egress, `https://${target}/x`, 'DELETE')).toMatch(
        /Only the registry itself is asked to delete/,
      );
  });
});

describe('plain HTTP', () => {
  it.each(['registry.example', '10.9.9.9:5000', '9.9.9.9'])(
    'is not used where %s sends layerstack',
    (host) => {
      for (const target of ['storage.example', '8.8.8.8', host])
        expect(refusal(egressOf(host), `http://${target}/x?sig=secret`)).toMatch(
          /\/x\?sig=REDACTED, which is not encrypted.*set "insecure": true for .* in \/etc\/test\/registries\.json/,
        );
    },
  );

  it('is used if the registry or the named host is insecure', () => {
    const insecure = { insecure: true };
    expect(refusal(egressOf('r.example', { 'r.example': insecure }), 'http://s.example/')).toBeUndefined();
    expect(
      refusal(egressOf('r.example', { 's.example:9000': insecure }), 'http://s.example:9000/'),
    ).toBeUndefined();
    expect(refusal(egressOf('localhost:5000'), 'http://127.0.0.1:5001/')).toBeUndefined();
    const mirror = new Egress(testAccess().settings, 'm.example', true);
    expect(refusal(mirror, 'http://m.example/')).toBeUndefined();
  });

  it('carries passwords to this machine only for a registry on it', () => {
    for (const host of ['localhost:5001', '127.0.0.1', '[::1]:1'])
      for (const [registry, bears] of [
        ['registry.example', false],
        ['10.0.0.1:5000', false],
        ['localhost:5000', true],
        ['127.0.0.1', true],
      ] as const)
        expect(egressOf(registry).isInsecure(host)).toBe(bears);
    expect(egressOf('r.example', { 'localhost:1': { insecure: true } }).isInsecure('localhost:1')).toBe(true);
    expect(egressOf('localhost:2', { 'localhost:1': { insecure: false } }).isInsecure('localhost:1')).toBe(
      false,
    );
  });
});

describe('what the operator allows', () => {
  it('may be anywhere, and the error for other hosts says how to allow them', () => {
    const allow = ['10.0.0.1:9000', 'localhost:5001', '192.168.0.1', '172.16.0.1:443'];
    const egress = egressOf('registry.example', { 'registry.example': { allow } });
    for (const target of ['10.0.0.1:9000', 'localhost:5001', '192.168.0.1', '172.16.0.1'])
      expect(refusal(egress, `https://${target}/x`, 'PUT')).toBeUndefined();
    for (const target of ['10.0.0.1', '10.0.0.1:9001', 'localhost:5002', '192.168.0.1:9', '172.16.0.1:80'])
      expect(refusal(egress, `https://${target}/x`)).toContain(
        `add "allow": [${JSON.stringify(target)}] to "registry.example" in /etc/test/registries.json`,
      );
    expect(refusal(egress, 'https://10.0.0.1:9000/x', 'DELETE')).toBeDefined();
  });
});

describe('a registry that is a name', () => {
  const url = new URL('https://registry.example/v2/');

  it('in a private network, by its first connection, may send layerstack there', () => {
    const egress = egressOf('registry.example');
    expect(refusal(egress, 'https://10.0.0.1/')).toBeDefined();
    egress.connected(new URL('https://storage.example/'), '10.0.0.7');
    expect(refusal(egress, 'https://10.0.0.1/')).toBeDefined();
    egress.connected(url, '10.0.0.5');
    expect(refusal(egress, 'https://10.0.0.1/')).toBeUndefined();
    expect(refusal(egress, 'https://127.0.0.1/')).toBeDefined();
  });

  it('that is public at first does not become private', () => {
    const egress = egressOf('registry.example');
    egress.connected(url, '8.8.8.8');
    egress.connected(url, '10.0.0.5');
    expect(refusal(egress, 'https://10.0.0.1/')).toBeDefined();
  });

  it.each(['127.0.0.1', '::1', '::ffff:127.0.0.1', '169.254.0.1'])(
    'does not count as near because its name resolves to %s',
    (address) => {
      const egress = egressOf('registry.example');
      egress.connected(url, address);
      for (const target of ['127.0.0.1', 'localhost', '169.254.169.254', '10.0.0.1'])
        expect(refusal(egress, `https://${target}/`)).toBeDefined();
    },
  );
});

describe('a host that is looked up', () => {
  const look = (egress: Egress, target: string, options: { all?: boolean } = { all: true }) =>
    new Promise<unknown>((resolve) => {
      const url = new URL(target);
      egress.lookup(url)(url.hostname, options, (error, found) => resolve(error ?? found));
    });

  it('yields only addresses that may be connected to', async () => {
    const error = await look(egressOf('registry.example'), 'https://localhost/');
    expect(error).toBeInstanceOf(AddressOutOfReach);
    expect(error).toMatchObject({ network: 'loopback' });
    expect(await look(egressOf('localhost:5000'), 'https://localhost/')).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ address: expect.stringMatching(/^(127|::1)/) as string }),
      ]),
    );
    expect(await look(egressOf('localhost:5000'), 'https://localhost/', {})).toMatch(/^(127|::1)/);
  });

  it('is always that of the registry itself', async () => {
    expect(await look(egressOf('localhost'), 'https://localhost/', {})).toMatch(/^(127|::1)/);
  });

  it('that does not exist fails as usual', async () => {
    expect(await look(egressOf('registry.example'), 'https://nowhere.invalid/')).toMatchObject({
      syscall: 'getaddrinfo',
    });
  });
});
