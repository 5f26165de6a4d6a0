/**
 * Query parameters as dockerd reads them (moby/moby: api/server/httputils/form.go). A flag is set unless it
 * is empty or says no. Filters are a JSON object of lists or, from old clients and the CLI, of objects whose
 * keys are the values.
 */
import { LayerstackError } from '../../core/errors.ts';
import * as json from '../../core/json.ts';
import { formatPlatform, type Platform } from '../../core/platform.ts';
import { HttpError } from './status.ts';

const NO = new Set(['', '0', 'no', 'false', 'none']);
/** Limit of a `filters` document; the URL has its own limit. */
const MAX_FILTERS = 64 * 1024;
/** Limit of other documents. */
const MAX_JSON = 64 * 1024;

const MAX_PLATFORM = 1024;

/** The values of each filter, in their order. */
export type Filters = ReadonlyMap<string, readonly string[]>;

const listOrSet: json.Decoder<readonly string[]> = (value, path) =>
  Array.isArray(value)
    ? json.array(json.string)(value, path)
    : [...json.map(json.boolean)(value, path)].filter(([, set]) => set).map(([key]) => key);
/** A null counts as missing, as in all documents that Go decodes. */
const decodeFilters: json.Decoder<Filters> = json.withDefault<Filters>(
  json.map(json.withDefault(listOrSet, [])),
  new Map(),
);

const decodePlatform: json.Decoder<Platform> = (value, path) => {
  const shape = { os: json.string, architecture: json.string, variant: json.optional(json.string) };
  const { variant, ...platform } = json.object(shape)(value, path);
  return variant ? { ...platform, variant } : platform;
};

export class Query {
  readonly #params: URLSearchParams;

  constructor(params: URLSearchParams) {
    this.#params = params;
  }

  /** The first value; undefined if it is missing or empty. */
  text(name: string): string | undefined {
    return this.#params.get(name) || undefined;
  }

  /** All values except empty ones. */
  all(name: string): string[] {
    return this.#params.getAll(name).filter((value) => value !== '');
  }

  has(name: string): boolean {
    return this.#params.has(name);
  }

  /** Reads a flag as docker does: any value is true, except an empty one, `0`, `no`, `false` and `none`. */
  flag(name: string, fallback = false): boolean {
    const value = this.#params.get(name);
    return value === null || value === '' ? fallback : !NO.has(value.trim().toLowerCase());
  }

  /**
   * @throws {@link HttpError} 400 when the value is not a whole number
   */
  integer(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (!/^-?\d{1,15}$/.test(value))
      throw new HttpError(400, `${name}=${JSON.stringify(value)} is not a whole number`);
    return Number(value);
  }

  /**
   * Returns a parameter that is JSON; undefined if it is missing or null.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when the decoder refuses it
   */
  json<T>(name: string, decoder: json.Decoder<T>): T | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const source = { what: name, code: 'ERR_INVALID_ARGUMENT', maxBytes: MAX_JSON } as const;
    return json.decodeJson(json.optional(decoder), Buffer.from(text), source);
  }

  /**
   * Returns platforms, which the API takes as JSON of `{"os","architecture","variant"}`, as
   * `os/architecture[/variant]`.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT if one does not have that form
   */
  platforms(name: string): string[] {
    return this.all(name).map((text) =>
      formatPlatform(
        json.decodeJson(decodePlatform, Buffer.from(text), {
          what: `invalid ${name}`,
          code: 'ERR_INVALID_ARGUMENT',
          maxBytes: MAX_PLATFORM,
        }),
      ),
    );
  }

  /**
   * Returns the `filters` parameter.
   * @param accepted - the filters that the route knows
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for another filter, or for malformed JSON
   */
  filters(accepted: readonly string[]): Filters {
    const text = this.text('filters');
    if (text === undefined) return new Map();
    const source = { what: 'invalid filter', code: 'ERR_INVALID_ARGUMENT', maxBytes: MAX_FILTERS } as const;
    const filters = json.decodeJson(decodeFilters, Buffer.from(text), source);
    for (const name of filters.keys())
      if (!accepted.includes(name))
        throw new LayerstackError(
          'ERR_INVALID_ARGUMENT',
          `invalid filter '${name}': use ${accepted.join(', ')}`,
        );
    return filters;
  }
}

/**
 * Returns the value of a boolean filter.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when it is neither true nor false, or both
 */
export function booleanFilter(filters: Filters, name: string): boolean | undefined {
  const values = filters.get(name);
  if (values === undefined || values.length === 0) return undefined;
  const isTrue = values.includes('true') || values.includes('1');
  const isFalse = values.includes('false') || values.includes('0');
  if (isTrue === isFalse)
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `invalid filter '${name}=[${values.join(' ')}]'`);
  return isTrue;
}
