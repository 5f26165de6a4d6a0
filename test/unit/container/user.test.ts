import { describe, expect, it } from 'vitest';
import { resolveUser } from '../../../src/container/user.ts';
import { codeOf } from '../../support/errors.ts';

const database = {
  passwd: [
    'root:x:0:0:root:/root:/bin/sh',
    '# a comment',
    'broken line',
    'bad:x:abc:0::/:',
    'mason:x:1000:100:Mason:/home/mason:/bin/sh',
    '4242:x:7:7:a name of digits:/seven:',
    '',
  ].join('\n'),
  group: ['root:x:0:', 'users:x:100:', 'builders:x:2000:carl,mason', 'sudo:x:27:mason', '900:x:9:'].join(
    '\n',
  ),
};
const nothing = { passwd: '', group: '' };

describe('resolveUser', () => {
  it('means root when it is empty, also without a database', () => {
    expect(resolveUser('', database)).toEqual({ uid: 0, gid: 0, additionalGids: [0], home: '/root' });
    expect(resolveUser('', nothing)).toEqual({ uid: 0, gid: 0, additionalGids: [0], home: undefined });
  });

  it('looks a name up, with the groups it is a member of', () => {
    expect(resolveUser('mason', database)).toEqual({
      uid: 1000,
      gid: 100,
      additionalGids: [100, 2000, 27],
      home: '/home/mason',
    });
  });

  it('takes a group by name or number, and then without supplementary ones', () => {
    expect(resolveUser('mason:sudo', database)).toMatchObject({ uid: 1000, gid: 27, additionalGids: [27] });
    expect(resolveUser('mason:5', database)).toMatchObject({ uid: 1000, gid: 5, additionalGids: [5] });
    expect(resolveUser('12:34', nothing)).toEqual({
      uid: 12,
      gid: 34,
      additionalGids: [34],
      home: undefined,
    });
  });

  it('treats a number as an id, even if a user or group has it as its name', () => {
    expect(resolveUser('4242', database)).toMatchObject({ uid: 4242, gid: 0, home: undefined });
    expect(resolveUser('0:900', database)).toMatchObject({ gid: 900 });
  });

  it('finds group and home of a listed number', () => {
    expect(resolveUser('1000', database)).toMatchObject({ uid: 1000, gid: 100, home: '/home/mason' });
  });

  it('takes a group without a user', () => {
    expect(resolveUser(':users', database)).toMatchObject({ uid: 0, gid: 100 });
  });

  it.each(['nobody', 'bad', 'mason:nogroup', 'broken line'])('refuses %s', (spec) => {
    expect(codeOf(() => resolveUser(spec, database))).toBe('ERR_USER_NOT_FOUND');
  });

  it.each(['2147483648', '0:2147483648', '9999999999'])('refuses the id of %s', (spec) => {
    expect(codeOf(() => resolveUser(spec, database))).toBe('ERR_INVALID_ARGUMENT');
  });

  it('does not read more digits than an id has as a number', () => {
    expect(codeOf(() => resolveUser('99999999999', database))).toBe('ERR_USER_NOT_FOUND');
  });
});
