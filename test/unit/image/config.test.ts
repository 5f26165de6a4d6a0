import { describe, expect, it } from 'vitest';
import { digestOf } from '../../../src/core/digest.ts';
import { MAX_CONFIG_BYTES, parseImageConfig } from '../../../src/image/config.ts';

const A = digestOf('a');
const B = digestOf('b');
const rootfs = { type: 'layers', diff_ids: [A, B] };
const parse = (value: unknown): ReturnType<typeof parseImageConfig> =>
  parseImageConfig(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
const refuse = (value: unknown, why: RegExp): void => {
  expect(() => parse(value)).toThrow(
    expect.objectContaining({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringMatching(why) as string,
      id: expect.stringMatching(/^sha256:/) as string,
    }),
  );
};

describe('an image config', () => {
  it('is kept verbatim, its digest being the id', () => {
    const text = ` {\n "rootfs" : {"diff_ids":["${A}"]} }\n`;
    const config = parse(text);
    expect(Buffer.from(config.raw).toString()).toBe(text);
    expect(config.id).toBe(digestOf(text));
    expect(config.diffIds).toEqual([A]);
  });

  it('is read with its values', () => {
    const config = parse({
      architecture: 'arm',
      variant: 'v7',
      os: 'linux',
      created: '2020-01-02T03:04:05.600Z',
      author: 'me',
      config: { User: '1000', Env: ['A=1'], Cmd: 'sh', Labels: { b: '2', a: '1' }, Volumes: { '/v': {} } },
      history: [
        { created: '2020-01-02T03:04:05Z', created_by: 'RUN x', comment: 'c', author: 'a' },
        { empty_layer: true },
      ],
      rootfs,
    });
    expect(config).toMatchObject({
      architecture: 'arm',
      variant: 'v7',
      os: 'linux',
      created: { text: '2020-01-02T03:04:05.6Z', unix: 1577934245 },
      author: 'me',
      hasConfig: true,
      history: [
        { createdBy: 'RUN x', emptyLayer: false, comment: 'c', author: 'a' },
        { createdBy: '', emptyLayer: true },
      ],
    });
    expect(config.config).toMatchObject({
      User: '1000',
      Env: ['A=1'],
      Cmd: ['sh'],
      Volumes: ['/v'],
      Entrypoint: null,
    });
    expect([...(config.config.Labels ?? [])]).toEqual([
      ['a', '1'],
      ['b', '2'],
    ]);
  });

  it('may have no more than a rootfs', () => {
    const config = parse({ rootfs: {} });
    expect(config).toMatchObject({
      os: 'linux',
      architecture: '',
      diffIds: [],
      history: [],
      hasConfig: false,
    });
    expect(config).not.toHaveProperty('created');
    expect(config).not.toHaveProperty('variant');
  });

  it('may have null where a value may be absent', () => {
    const config = parse({
      created: null,
      config: null,
      history: null,
      os: null,
      rootfs: { type: null, diff_ids: null },
      container_config: null,
    });
    expect(config).toMatchObject({ diffIds: [], hasConfig: false, os: 'linux' });
  });

  it('has field names in any case, the last of several counting, as Go takes them', () => {
    const config = parse(
      `{"RootFS":{"Diff_IDs":["${A}"]},"OS":"windows","os":"linux","Config":{"env":["A=1"]}}`,
    );
    expect(config.diffIds).toEqual([A]);
    expect(config.os).toBe('linux');
    expect(config.config.Env).toEqual(['A=1']);
  });

  it.each(['windows', 'LINUX', 'Linux', 'linux ', 'freebsd'])(
    'of the operating system %j is refused',
    (os) => {
      refuse({ rootfs: { type: 'layers', diff_ids: [A] }, os }, /is for the operating system/);
    },
  );

  it('is refused without a rootfs', () => {
    refuse({}, /rootfs is missing/);
    refuse({ rootfs: null }, /rootfs is missing/);
    refuse({ rootfs: [] }, /rootfs is an array/);
    refuse('null', /rootfs is missing/);
    refuse('not json', /not JSON/);
    refuse('', /it is empty/);
  });

  it('is refused for another operating system', () => {
    refuse({ os: 'windows', rootfs }, /operating system "windows"; only linux/);
    refuse({ os: 'linux2', rootfs }, /operating system "linux2"/);
  });

  it('is refused with more steps that made a layer than layers', () => {
    const step = { created_by: 'x' };
    expect(parse({ rootfs, history: [step, step, { empty_layer: true }] }).history).toHaveLength(3);
    expect(parse({ rootfs, history: [step] }).history).toHaveLength(1);
    refuse({ rootfs, history: [step, step, step] }, /history has 3 steps with a layer.*2 layers/);
  });

  it('is refused with DiffIDs that are none', () => {
    refuse({ rootfs: { diff_ids: [A, 'sha256:12'] } }, /rootfs\.diff_ids\[1\] is not a digest/);
    refuse(
      { rootfs: { diff_ids: [A, `sha512:${'0'.repeat(128)}`] } },
      /rootfs\.diff_ids\[1\] is not a digest/,
    );
    refuse({ rootfs: { diff_ids: [null] } }, /rootfs\.diff_ids\[0\] is not a digest/);
    refuse({ rootfs: { diff_ids: A } }, /rootfs\.diff_ids is a string/);
  });

  it('is refused with values of a wrong type', () => {
    refuse({ rootfs, created: 5 }, /created is a number/);
    refuse({ rootfs, created: '2020' }, /created is not an RFC 3339 time/);
    refuse({ rootfs, history: [{ created: 'now' }] }, /history\[0\]\.created is not an RFC 3339 time/);
    refuse({ rootfs, config: { Env: [1] } }, /config\.Env\[0\] is a number/);
    refuse({ rootfs, config: { Labels: { a: 1 } } }, /config\.Labels\["a"\] is a number/);
    refuse({ rootfs, config: { StopTimeout: 1e300 } }, /config\.StopTimeout is 1e\+300, not a whole number/);
  });

  it('is bounded in size and depth', () => {
    refuse(`{"rootfs":{},"x":"${'y'.repeat(MAX_CONFIG_BYTES)}"}`, /bytes; 8388608 are allowed/);
    refuse(`{"rootfs":{},"x":${'['.repeat(200_000)}${']'.repeat(200_000)}}`, /nested deeper/);
    refuse(
      { rootfs: { diff_ids: Array.from({ length: 10_001 }, () => A) } },
      /has 10001 items; 10000 are allowed/,
    );
  });

  it('cannot reach the prototype', () => {
    const config = parse(
      `{"__proto__":{"rootfs":{}},"rootfs":{},"config":{"Labels":{"__proto__":"x"},"Volumes":{"__proto__":{}}}}`,
    );
    expect(config.config.Labels?.get('__proto__')).toBe('x');
    expect(config.config.Volumes).toEqual(['__proto__']);
    expect(Object.prototype).not.toHaveProperty('rootfs');
  });
});
