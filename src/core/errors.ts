/**
 * The one error class of layerstack. `code` says what happened. `kind` is the class of the error, which only
 * the CLI (exit status) and the service (HTTP status) use. The other fields are facts about the object at
 * fault. `cause` is the error below; system errors have Node's shape.
 */
// This import defines `Symbol.asyncDispose` before a class uses it: every module with such a class imports
// this file.
import './disposal.ts';

/** The class of an error. */
export type ErrorKind =
  'not-found' | 'conflict' | 'invalid' | 'denied' | 'unavailable' | 'data-loss' | 'aborted' | 'internal';

/** Every code, with its kind. */
export const ERROR_KINDS = {
  /** An argument or option of the caller is wrong. */
  ERR_INVALID_ARGUMENT: 'invalid',
  /** The request asks for something that is not supported here and would be ignored: `key` names it. */
  ERR_UNSUPPORTED: 'invalid',
  /** A name is not a valid image reference. */
  ERR_REFERENCE_INVALID: 'invalid',
  /** A digest is malformed or of an unknown algorithm. */
  ERR_DIGEST_INVALID: 'invalid',
  /** An archive ends early. */
  ERR_ARCHIVE_TRUNCATED: 'invalid',
  /** An archive is not a docker-archive, an OCI archive or an OCI layout, or breaks their rules. */
  ERR_ARCHIVE_INVALID: 'invalid',
  /** An archive that is used in place was changed, truncated or replaced in the meantime. */
  ERR_ARCHIVE_CHANGED: 'conflict',
  /** An operation needs the changes in an archive's root file system, and the archive is not mounted. */
  ERR_ARCHIVE_NOT_MOUNTED: 'conflict',
  /** A manifest names a member that the archive does not have, or must not name. */
  ERR_ARCHIVE_MEMBER: 'invalid',
  /** Content does not have the digest or size that was announced. */
  ERR_DIGEST_MISMATCH: 'data-loss',
  /** A manifest or index is malformed. */
  ERR_MANIFEST_INVALID: 'invalid',
  /** An image config is malformed, or for another operating system. */
  ERR_CONFIG_INVALID: 'invalid',
  /** The number of layers in a manifest differs from the number of diff_ids in its config. */
  ERR_LAYER_COUNT: 'invalid',
  /** An index has no image for the wanted platform. */
  ERR_PLATFORM_NOT_FOUND: 'not-found',
  /** A layer tar is malformed, or has a member that cannot be stored. */
  ERR_LAYER_INVALID: 'invalid',
  /** A layer tar or its compressed stream ends early. */
  ERR_LAYER_TRUNCATED: 'invalid',
  /** A layer has a member that climbs out of the layer. */
  ERR_LAYER_ESCAPE: 'invalid',
  /** Content is compressed by a method that is not supported. */
  ERR_COMPRESSION_UNSUPPORTED: 'invalid',
  /** A bound (bytes, entries, path length, ...) is exceeded. */
  ERR_LIMIT_EXCEEDED: 'invalid',
  /** A layer whose bytes no registry holds (foreign, non-distributable). */
  ERR_LAYER_FOREIGN: 'invalid',
  ERR_LAYER_NOT_FOUND: 'not-found',
  /** The image has more layers than can be mounted. */
  ERR_LAYER_DEPTH: 'invalid',
  ERR_IMAGE_NOT_FOUND: 'not-found',
  /** A short id fits several images or containers. */
  ERR_ID_AMBIGUOUS: 'invalid',
  /** An image cannot be deleted: containers use it, images are built on it, or it has several names. */
  ERR_IMAGE_IN_USE: 'conflict',
  ERR_CONTAINER_NOT_FOUND: 'not-found',
  ERR_CONTAINER_NAME_IN_USE: 'conflict',
  ERR_CONTAINER_MOUNTED: 'conflict',
  /** Processes use the root file system of a container in a way that the operation does not allow. */
  ERR_CONTAINER_BUSY: 'conflict',
  /** A container's runtime (runc, crun) is not installed. */
  ERR_RUNTIME_NOT_FOUND: 'unavailable',
  /** A runtime cannot start a container. The message has the runtime's own message. */
  ERR_RUNTIME: 'unavailable',
  /** A container does not have the program that it runs. */
  ERR_COMMAND_NOT_FOUND: 'not-found',
  /** A container's program cannot be executed. */
  ERR_COMMAND_DENIED: 'denied',
  /** A Dockerfile is malformed, or uses something that is not supported. */
  ERR_DOCKERFILE_INVALID: 'invalid',
  /** A command of RUN in a Dockerfile has failed. `found` is its exit status. */
  ERR_RUN_FAILED: 'invalid',
  ERR_SNAPSHOT_NOT_FOUND: 'not-found',
  ERR_SNAPSHOT_NAME_IN_USE: 'conflict',
  /** A container or another snapshot is on top of the snapshot. */
  ERR_SNAPSHOT_IN_USE: 'conflict',
  /** An object was changed since the state that the request starts from. */
  ERR_CONFLICT: 'conflict',
  /** A path does not exist, in a container or on the host. */
  ERR_PATH_NOT_FOUND: 'not-found',
  /** A path is a directory where it must not be one, or the other way round. */
  ERR_PATH_TYPE: 'invalid',
  /** A file of the container changed while it was read. */
  ERR_UPPER_CHANGED: 'conflict',
  /** The container's upper holds entries whose content overlayfs keeps elsewhere (redirect_dir, metacopy). */
  ERR_UPPER_UNSUPPORTED: 'unavailable',
  /** A user or group of the image config does not exist in the root file system. */
  ERR_USER_NOT_FOUND: 'not-found',
  /** A digest reference cannot be moved to another image. */
  ERR_REFERENCE_CONFLICT: 'conflict',
  /** Another program (dockerd) holds the root for writing, or the store is open read-only. */
  ERR_STORE_LOCKED: 'conflict',
  ERR_STORE_READ_ONLY: 'denied',
  /** The root's file system lacks something that overlay2 needs (d_type, trusted xattrs, ...). */
  ERR_STORE_UNSUPPORTED: 'unavailable',
  /** The store's own files contradict each other or their digests. */
  ERR_STORE_CORRUPT: 'data-loss',
  ERR_STORE_CLOSED: 'invalid',
  /** A user other than root can write to the store's root, or to a directory above it. */
  ERR_STORE_UNSAFE: 'denied',
  ERR_NOT_ROOT: 'denied',
  ERR_NO_SPACE: 'unavailable',
  /** Another program serves at the address already, or something else is in the socket's place. */
  ERR_ADDRESS_IN_USE: 'conflict',
  /** The service is ending, or has reached its limit of work. */
  ERR_SERVICE_BUSY: 'unavailable',
  /** A registry cannot be reached, answers with 5xx, closes the connection or stalls, after all attempts. */
  ERR_REGISTRY_UNAVAILABLE: 'unavailable',
  /** A registry refuses further requests for now (429), after all attempts. */
  ERR_REGISTRY_LIMIT: 'unavailable',
  /** A registry wants other credentials, or the credentials do not permit the request. */
  ERR_REGISTRY_DENIED: 'denied',
  /** A registry does not have a repository, manifest or blob. */
  ERR_REGISTRY_NOT_FOUND: 'not-found',
  /** A registry refuses a request as wrong, e.g. a name or a manifest. */
  ERR_REGISTRY_REFUSED: 'invalid',
  /** A registry does not support the request, e.g. a deletion. */
  ERR_REGISTRY_UNSUPPORTED: 'unavailable',
  /** A server breaks the protocol: it is a broken registry, or not a registry. */
  ERR_REGISTRY_INVALID: 'invalid',
  /** The operator's settings for registries (registries.json, certs.d, proxy variables) are invalid. */
  ERR_REGISTRY_SETTINGS: 'invalid',
  /** A file or helper with credentials for registries cannot be read, or is invalid. */
  ERR_CREDENTIALS_INVALID: 'invalid',
  /** The native addon cannot be loaded. */
  ERR_ADDON: 'unavailable',
  /** A system call failed; `cause` has the errno. */
  ERR_SYSTEM: 'internal',
  /** The caller's AbortSignal fired. */
  ERR_ABORTED: 'aborted',
  ERR_INTERNAL: 'internal',
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_KINDS;

/** Facts about the object at fault; each becomes an own property of the error. */
export interface ErrorFacts {
  readonly path?: string | undefined;
  readonly digest?: string | undefined;
  readonly reference?: string | undefined;
  readonly id?: string | undefined;
  /** Argument, option or key of a document, e.g. `options.root`. */
  readonly key?: string | undefined;
  /** Member of an archive or of a layer. */
  readonly member?: string | undefined;
  readonly layer?: string | undefined;
  readonly expected?: string | number | undefined;
  readonly found?: string | number | undefined;
  readonly limit?: number | undefined;
  readonly syscall?: string | undefined;
  /** Host of a registry. */
  readonly registry?: string | undefined;
  /** Name of a repository, in familiar form. */
  readonly repository?: string | undefined;
  /** HTTP status of a registry's answer. */
  readonly status?: number | undefined;
  /** The known key that is nearest to the unknown one. */
  readonly nearest?: string | undefined;
  /** The same call may succeed later. */
  readonly retryable?: boolean | undefined;
  /** Milliseconds until then, if the registry says so. */
  readonly retryAfterMs?: number | undefined;
}

const BRAND = Symbol.for('layerstack.error');

export class LayerstackError extends Error implements ErrorFacts {
  override readonly name: string = 'LayerstackError';
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  declare readonly path?: string;
  declare readonly digest?: string;
  declare readonly reference?: string;
  declare readonly id?: string;
  declare readonly key?: string;
  declare readonly member?: string;
  declare readonly layer?: string;
  declare readonly expected?: string | number;
  declare readonly found?: string | number;
  declare readonly limit?: number;
  declare readonly syscall?: string;
  declare readonly registry?: string;
  declare readonly repository?: string;
  declare readonly status?: number;
  declare readonly nearest?: string;
  declare readonly retryable?: boolean;
  declare readonly retryAfterMs?: number;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts & { cause?: unknown } = {}) {
    const { cause, ...fields } = facts;
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.kind = ERROR_KINDS[code];
    for (const [key, value] of Object.entries(fields)) {
      if (value !== undefined) Object.defineProperty(this, key, { value, enumerable: true });
    }
  }

  static {
    Object.defineProperty(this.prototype, BRAND, { value: true });
  }

  /**
   * Returns whether `error` is a LayerstackError, optionally with one of `codes`. It recognises the errors of
   * other copies of this package and of other realms.
   */
  static is(error: unknown, ...codes: readonly ErrorCode[]): error is LayerstackError {
    if (!isError(error) || !(BRAND in error)) return false;
    return codes.length === 0 || ('code' in error && codes.includes(error.code as ErrorCode));
  }

  /**
   * Returns an error about a whole for an error about a part of it. It has the code and the facts of `error`,
   * with those of `facts` in their place, and `error` as its cause.
   */
  static within(error: LayerstackError, message: string, facts: ErrorFacts = {}): LayerstackError {
    return new LayerstackError(error.code, message, { ...factsOf(error), ...facts, cause: error });
  }

  /** Makes `error instanceof LayerstackError` give the same answer as `is`. */
  static override [Symbol.hasInstance](error: unknown): boolean {
    return this === LayerstackError ? LayerstackError.is(error) : super[Symbol.hasInstance](error);
  }
}

function factsOf(error: LayerstackError): ErrorFacts {
  const { name: _name, code: _code, kind: _kind, ...facts } = error;
  return facts;
}

/**
 * Returns whether `value` is an error of any realm. Jest gives each test file a realm of its own, while Node
 * and the addon throw errors of the main realm, which `instanceof Error` does not recognise.
 */
export function isError(value: unknown): value is Error {
  return ERROR_TAGS.has(Object.prototype.toString.call(value));
}

/** An AbortSignal aborts with a DOMException. */
const ERROR_TAGS: ReadonlySet<string> = new Set(['[object Error]', '[object DOMException]']);

/** A system error as Node shapes it. */
export interface SystemError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;
  readonly path?: string;
  readonly dest?: string;
  /** The step of a batch that failed, counted from 0. */
  readonly step?: number;
}

/** Whether `error` is a system error, optionally one with any of `codes`. */
export function isSystemError(error: unknown, ...codes: string[]): error is SystemError {
  if (!isError(error) || !('errno' in error) || !('code' in error)) return false;
  return codes.length === 0 || codes.includes(error.code as string);
}

/**
 * Returns the error of the work itself. Where a disposal has failed as well, `await using` combines the two
 * errors in a SuppressedError.
 */
export function firstError(error: unknown): unknown {
  let first = error;
  while (isError(first) && first.name === 'SuppressedError' && 'suppressed' in first)
    first = first.suppressed;
  return first;
}

/** Resolves as `work` does, or with undefined where it fails with one of these codes. */
export async function undefinedIf<T>(
  work: Promise<T>,
  ...codes: readonly [ErrorCode, ...ErrorCode[]]
): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (LayerstackError.is(error, ...codes)) return undefined;
    throw error;
  }
}

/** Resolves as `work` does, or with undefined where it fails because a file is missing (ENOENT). */
export async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}
