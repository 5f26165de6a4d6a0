import { describe, expect, it } from 'vitest';
import { EMPTY_LAYER_DIFF_ID } from '../../../src/core/digest.ts';
import type { ImageConfig } from '../../../src/image/config.ts';
import { configFromV1, parseV1Image } from '../../../src/image/v1.ts';
import { V1_CASES, v1Id } from './v1-cases.ts';

describe('a legacy image', () => {
  it.each(V1_CASES)('gets the image id that dockerd gives it: $name', ({ documents, id }) => {
    let config: ImageConfig | undefined;
    for (const document of documents) {
      config = configFromV1(parseV1Image(Buffer.from(document), 'json'), EMPTY_LAYER_DIFF_ID, config);
    }
    expect(config?.id, Buffer.from(config?.raw ?? []).toString()).toBe(id);
  });

  it('stands on the layers and the history of its parent', () => {
    const base = configFromV1(
      parseV1Image(Buffer.from('{"container_config":{"Cmd":["a","b"]}}'), 'json'),
      EMPTY_LAYER_DIFF_ID,
      undefined,
    );
    const child = configFromV1(
      parseV1Image(Buffer.from('{"comment":"<c>","docker_version":"1.9.0"}'), 'json'),
      EMPTY_LAYER_DIFF_ID,
      base,
    );
    expect(child.diffIds).toEqual([EMPTY_LAYER_DIFF_ID, EMPTY_LAYER_DIFF_ID]);
    expect(child.history.map((step) => [step.createdBy, step.comment])).toEqual([
      ['a b', ''],
      ['', '<c>'],
    ]);
  });

  it('names its parent', () => {
    expect(parseV1Image(Buffer.from(`{"parent":"${v1Id(3)}"}`), 'json').parent).toBe(v1Id(3));
    expect(parseV1Image(Buffer.from('{"parent":""}'), 'json')).not.toHaveProperty('parent');
  });

  it.each([
    ['[]', /a\/json: the document is an array/],
    ['{"config":{"Env":"A=1"}}', /a\/json: config\.Env is a string, not an array/],
    ['{"created":"2015"}', /a\/json: created is not an RFC 3339 time/],
    ['{"os":7}', /os is a number/],
    ['{', /not JSON/],
  ])('is refused: %s', (text, why) => {
    expect(() => parseV1Image(Buffer.from(text), 'a/json')).toThrow(
      expect.objectContaining({ code: 'ERR_CONFIG_INVALID', message: expect.stringMatching(why) as string }),
    );
  });

  it('of another operating system is refused', () => {
    const image = parseV1Image(Buffer.from('{"os":"windows"}'), 'json');
    expect(() => configFromV1(image, EMPTY_LAYER_DIFF_ID, undefined)).toThrow(/"windows"; only linux/);
  });
});
