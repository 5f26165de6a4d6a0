import { describe, expect, it } from 'vitest';
import { portsText } from '../../../src/app/cli/container-fields.ts';
import { portsOf } from '../../../src/container/ports.ts';

const text = (ports: object): string => portsText(portsOf({ NetworkSettings: { Ports: ports } }));
const bound = (port: string, ...addresses: string[]): object[] =>
  addresses.map((HostIp) => ({ HostIp, HostPort: port }));

// The expected texts are what docker's client (28) prints for these ports.
describe('ports', () => {
  it.each([
    [{}, ''],
    [{ '80/tcp': null }, '80/tcp'],
    [{ '80/tcp': null, '80/udp': [] }, '80/tcp, 80/udp'],
    [{ '80/tcp': bound('80', '::', '0.0.0.0') }, '0.0.0.0:80->80/tcp, [::]:80->80/tcp'],
    [{ '80/tcp': bound('8080', '0.0.0.0', '::1') }, '0.0.0.0:8080->80/tcp, [::1]:8080->80/tcp'],
    [{ '82/tcp': null, '80/tcp': null, '81/tcp': null, '84/tcp': null }, '80-82/tcp, 84/tcp'],
    [
      { '1/tcp': bound('1', '10.0.0.1'), '2/tcp': bound('2', '10.0.0.1'), '3/tcp': bound('9', '10.0.0.1') },
      '10.0.0.1:1-2->1-2/tcp, 10.0.0.1:9->3/tcp',
    ],
  ])('%j are %s', (ports, shown) => {
    expect(text(ports)).toBe(shown);
  });

  it('are empty for a malformed document', () => {
    for (const ports of [null, 7, [], { 'x/tcp': null, '99999/tcp': null, '-1/udp': null }])
      expect(portsOf({ NetworkSettings: { Ports: ports } })).toEqual([]);
    const nonsense = {
      '80/tcp': [null, 7, { HostPort: 80 }, { HostPort: '70000' }, { HostIp: 5, HostPort: '81' }],
    };
    expect(portsOf({ NetworkSettings: { Ports: nonsense } })).toEqual([
      { PublicPort: 81, PrivatePort: 80, Type: 'tcp' },
    ]);
  });
});
