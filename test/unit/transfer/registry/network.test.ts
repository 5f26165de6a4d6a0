/** In which network an address is, in each of the forms that it may be written in. */
import { describe, expect, it } from 'vitest';
import { namedNetwork, networkOf, type Network } from '../../../../src/transfer/registry/network.ts';

const ADDRESSES: Readonly<Record<Network, readonly string[]>> = {
  loopback: ['127.0.0.1', '127.255.255.254', '0.0.0.0', '0.1.2.3', '::1', '::'],
  'link-local': ['169.254.0.1', '169.254.169.254', 'fe80::1', 'febf::1', 'fe80::1%eth0'],
  private: [
    ...['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.0.1', '100.64.0.1', '100.127.255.255'],
    ...['fc00::1', 'fdff::1', 'fec0::1', '64:ff9b:1::8.8.8.8'],
  ],
  reserved: [
    ...[
      '192.0.0.8',
      '192.0.2.1',
      '198.18.0.1',
      '198.51.100.1',
      '203.0.113.1',
      '224.0.0.1',
      '255.255.255.255',
    ],
    ...['ff02::1', '100::1', '2001::1', '2001:db8::1', '3fff::1', '5f00::1', '::8.8.8.8', '::ffff:0:8.8.8.8'],
    ...['', 'localhost', '127.0.0.1.example', '1.2.3'],
  ],
  public: [
    ...['8.8.8.8', '9.255.255.255', '11.0.0.0', '126.255.255.255', '128.0.0.0', '172.15.0.1', '172.32.0.1'],
    ...['100.63.0.1', '100.128.0.1', '169.253.0.1', '192.167.0.1', '2606:4700::1111', '2a00:1450::1'],
  ],
};

describe('the network of an address', () => {
  it.each(
    Object.entries(ADDRESSES).flatMap(([network, addresses]) => addresses.map((each) => [each, network])),
  )('%s is %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  it.each([
    ['127.0.0.1', '7f00:1', 'loopback'],
    ['0.0.0.0', '0:0', 'loopback'],
    ['169.254.169.254', 'a9fe:a9fe', 'link-local'],
    ['10.1.2.3', 'a01:203', 'private'],
    ['172.20.0.1', 'ac14:1', 'private'],
    ['192.168.0.1', 'c0a8:1', 'private'],
    ['100.64.0.1', '6440:1', 'private'],
    ['224.0.0.1', 'e000:1', 'reserved'],
  ])('%s is found in each form that IPv6 has for it', (address, hex, network) => {
    const forms = ['::ffff:', '64:ff9b::', '::ffff:0:', '::'].flatMap((form) => [form + address, form + hex]);
    // "::0.0.0.0" and the like are the addresses of this machine itself.
    for (const form of [...forms, `2002:${hex}::`, `2002:${hex}::1`])
      expect(networkOf(form), form).toBe(network);
  });

  it.each([
    ['127.0.0.1', 'loopback'],
    ['169.254.169.254', 'link-local'],
    ['8.8.8.8', 'private'],
  ])('%s behind a NAT64 of the network is %s', (address, network) => {
    expect(networkOf(`64:ff9b:1::${address}`)).toBe(network);
  });

  it.each(['::ffff:8.8.8.8', '64:ff9b::8.8.8.8', '2002:808:808::1'])(
    '%s is that of the public address in it',
    (address) => {
      expect(networkOf(address)).toBe('public');
    },
  );
});

describe('the network that a name says', () => {
  it.each([
    ['localhost', 'loopback'],
    ['LOCALHOST.', 'loopback'],
    ['registry.localhost', 'loopback'],
    ['0x7f.1', 'loopback'],
    ['2130706433', 'loopback'],
    ['017700000001', 'loopback'],
    ['[::1]', 'loopback'],
    ['[::ffff:127.0.0.1]', 'loopback'],
    ['[fe80::1]', 'link-local'],
    ['10.0.0.1', 'private'],
    ['[fd00::1]', 'private'],
    ['8.8.8.8', 'public'],
    ['localhost.example', undefined],
    ['mylocalhost', undefined],
    ['registry.example', undefined],
  ])('of %s', (host, network) => {
    expect(namedNetwork(new URL(`http://${host}/`).hostname)).toBe(network);
  });
});
