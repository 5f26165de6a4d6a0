/**
 * Runs programs that store credentials elsewhere (a keyring, a cloud's identity), by the protocol of docker's
 * credential helpers: `docker-credential-NAME get|store|erase|list`. One value goes in on stdin, one comes
 * out on stdout. On failure the status is not zero, and the reason is on stdout.
 * Mirrors docker/docker-credential-helpers: client/client.go.
 */
import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { abortError, throwIfAborted } from '../../../core/abort.ts';
import { LayerstackError } from '../../../core/errors.ts';
import { decodeJson, map, object, string } from '../../../core/json.ts';
import type { Credentials } from './credentials.ts';
import { hideSecrets } from './secrets.ts';

/** The user name that marks the secret as an identity token. */
const TOKEN_USER = '<token>';
/** Tokens of clouds have some kilobytes; `list` names every registry. */
const MAX_OUTPUT = 1024 * 1024;
/** A helper may have to ask its user for the passphrase of a keyring. */
const TIMEOUT_MS = 120_000;
const MAX_QUOTED = 300;
/** Kept of stderr: more than is quoted, so that no secret is cut before it is hidden. */
const MAX_ERRORS = 64 * 1024;

/** The messages of helpers without credentials; their exit statuses differ. */
const NOT_FOUND =
  /^(?:credentials not found in native keychain|no credentials server URL|no credentials username)$/;

const kept = object({ Username: string, Secret: string });

interface Ended {
  readonly status: number | null;
  readonly output: Buffer;
  readonly errors: string;
}

export class CredentialHelper {
  readonly #name: string;
  readonly #file: string;
  readonly #path: string;

  /**
   * @param name - as in the configuration, without `docker-credential-`
   * @param file - the file that names it, for messages
   * @param path - directories to search, in the format of $PATH
   */
  constructor(name: string, file: string, path: string) {
    this.#name = name;
    this.#file = file;
    this.#path = path;
  }

  /**
   * Returns the credentials for a server; undefined where there are none.
   * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID.
   */
  async get(server: string, signal?: AbortSignal): Promise<Credentials | undefined> {
    const output = await this.#run('get', server, signal);
    if (!output) return undefined;
    const { Username, Secret } = decodeJson(kept, output, this.#answer('get'));
    return Username === TOKEN_USER ? { identityToken: Secret } : { username: Username, password: Secret };
  }

  /** Stores credentials. @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID. */
  async store(server: string, credentials: Credentials, signal?: AbortSignal): Promise<void> {
    const { identityToken, username = '', password = '' } = credentials;
    const [Username, Secret] =
      identityToken === undefined ? [username, password] : [TOKEN_USER, identityToken];
    const input = JSON.stringify({ ServerURL: server, Username, Secret });
    await this.#run('store', input, signal, credentials);
  }

  /**
   * Removes the credentials for a server, if any.
   * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID.
   */
  async erase(server: string, signal?: AbortSignal): Promise<void> {
    await this.#run('erase', server, signal);
  }

  /**
   * Returns the servers that it has credentials for.
   * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID.
   */
  async list(signal?: AbortSignal): Promise<string[]> {
    const output = await this.#run('list', '', signal);
    return output ? [...decodeJson(map(string), output, this.#answer('list')).keys()] : [];
  }

  #answer(verb: string) {
    return {
      what: `the answer of ${this.#program} ${verb}`,
      code: 'ERR_CREDENTIALS_INVALID',
      maxBytes: MAX_OUTPUT,
      facts: { path: this.#file },
    } as const;
  }

  get #program(): string {
    return `docker-credential-${this.#name}`;
  }

  /** Returns the helper's output; undefined where it reports that it has no credentials. */
  async #run(
    verb: string,
    input: string,
    signal: AbortSignal | undefined,
    secret?: Credentials,
  ): Promise<Uint8Array | undefined> {
    throwIfAborted(signal);
    const { status, output, errors } = await this.#spawn(await this.#find(), verb, input, signal);
    const text = output.toString('utf8').trim();
    if (NOT_FOUND.test(text)) return undefined;
    if (status === 0) return output;
    const said = hideSecrets(text === '' ? errors.trim() : text, secret).slice(0, MAX_QUOTED);
    throw this.#failure(`${verb} fails with status ${String(status)}${said === '' ? '' : `: ${said}`}`);
  }

  /**
   * Finds the program. execvp(3) would also search the working directory where $PATH has an empty or relative
   * entry.
   */
  async #find(): Promise<string> {
    if (this.#name === '' || /[/\0]/.test(this.#name)) {
      throw new LayerstackError(
        'ERR_CREDENTIALS_INVALID',
        `${this.#file} names the credential helper ${JSON.stringify(this.#name)}, which is not the name of a program`,
        { path: this.#file },
      );
    }
    for (const directory of this.#path.split(delimiter).filter(isAbsolute)) {
      const program = join(directory, this.#program);
      const runs = await access(program, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (runs) return program;
    }
    throw this.#failure('is not on PATH: install it, or remove it from the file');
  }

  #spawn(program: string, verb: string, input: string, signal: AbortSignal | undefined): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, [verb], { stdio: 'pipe' });
      const output: Buffer[] = [];
      let size = 0;
      let errors = '';
      let failure: Error | undefined;
      const stop = (error: Error): void => {
        failure ??= error;
        child.kill('SIGKILL');
        // The helper's own children may hold these open.
        child.stdout.destroy();
        child.stderr.destroy();
      };
      const abort = (): void => stop(abortError(signal as AbortSignal));
      const timer = setTimeout(
        () => stop(this.#failure(`${verb} does not end within ${String(TIMEOUT_MS / 1000)} seconds`)),
        TIMEOUT_MS,
      );
      signal?.addEventListener('abort', abort, { once: true });
      child.stdout.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_OUTPUT) stop(this.#failure(`${verb} prints more than ${String(MAX_OUTPUT)} bytes`));
        else output.push(chunk);
      });
      child.stderr.on('data', (chunk: Buffer) => {
        errors = (errors + chunk.toString('utf8')).slice(0, MAX_ERRORS);
      });
      // A helper may end without reading its input.
      child.stdin.on('error', () => undefined);
      child.stdin.end(input);
      child.on('error', (error) => stop(this.#failure(`does not start (${error.message})`, error)));
      child.on('close', (status) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        if (failure) reject(failure);
        else resolve({ status, output: Buffer.concat(output), errors });
      });
    });
  }

  #failure(why: string, cause?: unknown): LayerstackError {
    return new LayerstackError(
      'ERR_CREDENTIALS_INVALID',
      `the credential helper ${this.#program} (${this.#file}) ${why}`,
      { path: this.#file, cause },
    );
  }
}
