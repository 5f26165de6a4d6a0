import { describe, expect, it } from 'vitest';
import { isLoopback, locateRepository, registryAddress } from '../../../../src/transfer/registry/address.ts';

describe('where a repository is', () => {
  it.each([
    ['alpine', 'docker.io', 'registry-1.docker.io', 'library/alpine'],
    ['u/x', 'docker.io', 'registry-1.docker.io', 'u/x'],
    ['localhost:5000/x', 'localhost:5000', 'localhost:5000', 'x'],
    ['ghcr.io/a/b/c', 'ghcr.io', 'ghcr.io', 'a/b/c'],
  ])('%s', (name, host, apiHost, path) => {
    expect(locateRepository(name)).toMatchObject({ registry: { host, apiHost }, path });
  });

  it("stores Docker Hub's credentials under docker's key", () => {
    expect(registryAddress('docker.io').credentialsKey).toBe('https://index.docker.io/v1/');
    expect(registryAddress('ghcr.io').credentialsKey).toBe('ghcr.io');
  });

  it.each([
    ['localhost', true],
    ['LOCALHOST:5000', true],
    ['127.0.0.1:5000', true],
    ['127.3.2.1', true],
    ['[::1]:5000', true],
    ['localhost.example:5000', false],
    ['127.0.0.1.example', false],
    ['1270.0.0.1', false],
    ['10.0.0.1:5000', false],
  ])('treats %s as this machine: %s', (host, loopback) => {
    expect(isLoopback(host)).toBe(loopback);
  });
});
