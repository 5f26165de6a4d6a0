import { describe, expect, it } from 'vitest';
import {
  formatPlatform,
  hostPlatform,
  matchPlatform,
  parseKnownPlatform,
  parsePlatform,
} from '../../../src/core/platform.ts';

const entry = (text: string): { platform: ReturnType<typeof parsePlatform>; name: string } => ({
  platform: parsePlatform(text),
  name: text,
});
const match = (list: string[], wanted: string): string | undefined =>
  matchPlatform(list.map(entry), parsePlatform(wanted))?.name;

describe('a platform', () => {
  it.each([
    ['linux/amd64', 'linux/amd64'],
    ['amd64', 'linux/amd64'],
    ['LINUX/x86_64', 'linux/amd64'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm64/v9', 'linux/arm64/v9'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/i386', 'linux/386'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['linux/amd64/v3', 'linux/amd64/v3'],
    ['windows/amd64', 'windows/amd64'],
    ['riscv64', 'linux/riscv64'],
  ])('%s is %s', (text, formatted) => {
    expect(formatPlatform(parsePlatform(text))).toBe(formatted);
  });

  it.each(['', 'linux/', '/amd64', 'a/b/c/d', 'linux/amd 64'])('%j is not one', (text) => {
    expect(() => parsePlatform(text)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }));
  });

  it.each([
    ['       ', '"       " is an invalid OS component'],
    ['*', '"*" is an invalid OS component'],
    ['linux/amd64/', '"" is an invalid component'],
    ['foobar', 'unknown operating system or architecture'],
    ['nintendo64', 'unknown operating system or architecture'],
    ['linuxx', 'unknown operating system or architecture'],
  ])("%j is not one, with containerd's reason", (text, why) => {
    for (const parse of [parsePlatform, parseKnownPlatform])
      expect(() => parse(text)).toThrow(`invalid platform ${JSON.stringify(text)}: ${why}`);
  });

  it.each(['windows', 'macos', 'Darwin', 'freebsd'])(
    '%s alone is for the architecture of this machine',
    (os) => {
      expect(parsePlatform(os)).toEqual({
        ...hostPlatform(),
        os: os === 'macos' ? 'darwin' : os.toLowerCase(),
      });
    },
  );

  it.each(['linux/foobar', 'foo/amd64', 'linux/amd46', 'linux/x64', 'linuxx/amd64/v2'])(
    '%s cannot be looked for',
    (text) => {
      expect(() => parseKnownPlatform(text)).toThrow(
        /^invalid platform ".*": unknown (operating system|architecture) "/,
      );
      // An image may be made for it all the same.
      expect(formatPlatform(parsePlatform(text))).toContain(text);
    },
  );

  it.each([
    'linux/x86_64',
    'arm64',
    'linux/arm/v6',
    'windows/amd64',
    'linux',
    'linux/loong64',
    'wasip1/wasm',
  ])('%s can be looked for', (text) => expect(parseKnownPlatform(text)).toEqual(parsePlatform(text)));

  it('of this process is for linux', () => {
    expect(hostPlatform().os).toBe('linux');
    expect(parsePlatform('linux')).toEqual(hostPlatform());
  });
});

describe('the best entry of an index', () => {
  it.each([
    [['linux/arm64', 'linux/amd64'], 'linux/amd64', 'linux/amd64'],
    [['windows/amd64', 'linux/amd64'], 'linux/amd64', 'linux/amd64'],
    [['linux/386', 'linux/amd64'], 'linux/amd64', 'linux/amd64'],
    [['linux/arm64', 'linux/386'], 'linux/amd64', 'linux/386'],
    [['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'], 'linux/amd64/v3', 'linux/amd64/v2'],
    [['linux/amd64/v3'], 'linux/amd64', undefined],
    [['linux/arm/v5', 'linux/arm/v6'], 'linux/arm/v7', 'linux/arm/v6'],
    [['linux/arm/v7'], 'linux/arm/v6', undefined],
    [['linux/arm/v7', 'linux/arm64'], 'linux/arm64/v8', 'linux/arm64'],
    [['linux/arm/v6', 'linux/arm/v7'], 'linux/arm64', 'linux/arm/v7'],
    [['linux/arm64'], 'linux/arm64/v9', 'linux/arm64'],
    [['linux/s390x'], 'linux/ppc64le', undefined],
  ])('of %j for %s is %s', (list, wanted, best) => {
    expect(match(list, wanted)).toBe(best);
  });

  it('is the first among equals', () => {
    const list = [
      { ...entry('linux/amd64'), n: 1 },
      { ...entry('linux/amd64'), n: 2 },
    ];
    expect(matchPlatform(list, parsePlatform('linux/amd64'))?.n).toBe(1);
  });

  it('is one without a platform only if no other fits', () => {
    const any = { platform: undefined, name: 'any' };
    const list = [any, entry('linux/amd64')];
    expect(matchPlatform(list, parsePlatform('amd64'))?.name).toBe('linux/amd64');
    expect(matchPlatform(list, parsePlatform('s390x'))).toBe(any);
  });

  it('is never an attestation', () => {
    const attestation = { platform: { os: 'unknown', architecture: 'unknown' } };
    expect(matchPlatform([attestation], parsePlatform('amd64'))).toBeUndefined();
  });
});
