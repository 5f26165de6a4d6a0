/**
 * Settings that may change while the service runs: a JSON file that is read at the start and again at SIGHUP,
 *
 *   { "logLevel": "debug", "maxConnections": 1000, "shutdownTimeoutSeconds": 15, "durableCreate": false }
 *
 * The command line overrides it. Unknown keys are refused: a misspelt key must not silently have no effect.
 */
import { readFile } from 'node:fs/promises';
import { unlessMissing } from '../../core/errors.ts';
import * as json from '../../core/json.ts';
import { LOG_LEVELS, type LogLevel } from './logs.ts';

export const DEFAULT_SETTINGS_FILE = '/etc/layerstack/serve.json';

export interface ServiceSettings {
  readonly logLevel?: LogLevel | undefined;
  readonly maxConnections?: number | undefined;
  readonly shutdownTimeoutSeconds?: number | undefined;
  /** The answer to a create waits until the container is on disk. */
  readonly durableCreate?: boolean | undefined;
}

/** The defaults. The timeout is dockerd's. */
export const DEFAULT_SETTINGS = {
  logLevel: 'info',
  maxConnections: 4096,
  shutdownTimeoutSeconds: 15,
  durableCreate: true,
} as const;

const MAX_BYTES = 64 * 1024;

const level: json.Decoder<LogLevel> = (value, path) =>
  LOG_LEVELS.find((known) => known === value) ??
  json.mismatch(path, `is not one of ${LOG_LEVELS.join(', ')}`);

const between =
  (least: number, most: number): json.Decoder<number> =>
  (value, path) => {
    const number = json.integer(value, path);
    return number >= least && number <= most
      ? number
      : json.mismatch(path, `is not between ${least} and ${most}`);
  };

const document: json.Decoder<ServiceSettings> = json.closedObject({
  logLevel: json.optional(level),
  maxConnections: json.optional(between(1, 1_000_000)),
  shutdownTimeoutSeconds: json.optional(between(0, 86_400)),
  durableCreate: json.optional(json.boolean),
});

/**
 * Reads the settings from a file.
 * @param missing - the result if the file is missing; without it, a missing file is an error
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT with the file and the key; a system error if the file
 *   cannot be read.
 */
export async function readServiceSettings(path: string, missing?: ServiceSettings): Promise<ServiceSettings> {
  const bytes = await (missing ? unlessMissing(readFile(path)) : readFile(path));
  if (bytes === undefined) return missing ?? {};
  return json.decodeJson(document, bytes, {
    what: path,
    code: 'ERR_INVALID_ARGUMENT',
    maxBytes: MAX_BYTES,
    facts: { path },
  });
}
