/**
 * Image references, `name[:tag][@digest]`, by docker's grammar and normalisation:
 *
 *   name      = [host[:port] "/"] component *("/" component)      at most 255 bytes with its registry
 *   component = [a-z0-9]+ joined by one of  .  _  __  -+
 *   tag       = [A-Za-z0-9_] and up to 127 of [A-Za-z0-9_.-]
 *
 * The first part is a host only if it has a "." or ":" or is "localhost"; else the name belongs to docker.io,
 * and a single component to docker.io/library. A host without a port may also be spelt like a component, with
 * underscores (`foo_bar.com/x`). The store and the user see the *familiar* form, without `docker.io/` and
 * `library/`. Mirrors `distribution/reference` as dockerd 20.10 has it.
 */
import { isHex64, parseDigest, type Digest } from './digest.ts';
import { LayerstackError } from './errors.ts';

/** A parsed reference. */
export interface Reference {
  /** Familiar name: `alpine`, `u/x`, `localhost:5000/x`. */
  readonly repository: string;
  readonly tag?: string;
  /** Digest of a manifest (not an image id). */
  readonly digest?: Digest;
}

const DEFAULT_HOST = 'docker.io';
const LEGACY_HOST = 'index.docker.io';
const OFFICIAL = 'library/';
const MAX_NAME = 255;
const MAX_TAG = 128;

const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const IPV6 = '\\[[a-fA-F0-9:]+\\]';
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|${IPV6})(?::[0-9]+)?$`);
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/**
 * Returns the reference in familiar form. It adds no tag: see {@link withDefaultTag}.
 * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, saying which part is wrong and what is allowed.
 */
export function parseReference(text: string): Reference {
  const fail = (why: string): never => {
    const shown = text.length > 300 ? `${text.slice(0, 300)}…` : text;
    throw new LayerstackError('ERR_REFERENCE_INVALID', `invalid reference ${JSON.stringify(shown)}: ${why}`, {
      reference: shown,
    });
  };

  if (text === '') fail('it is empty; give NAME[:TAG]');
  if (isHex64(text)) fail('64 hex digits are an image id, not a name; give NAME[:TAG]');

  const at = text.indexOf('@');
  const digestText = at < 0 ? undefined : text.slice(at + 1);
  const beforeDigest = at < 0 ? text : text.slice(0, at);
  // A colon after the last slash starts the tag; one before it belongs to the host's port.
  const colon = beforeDigest.indexOf(':', beforeDigest.lastIndexOf('/') + 1);
  const tag = colon < 0 ? undefined : beforeDigest.slice(colon + 1);
  const name = colon < 0 ? beforeDigest : beforeDigest.slice(0, colon);

  const repository = familiarName(name, fail);
  if (tag !== undefined) checkTag(tag, fail);
  let digest: Digest | undefined;
  if (digestText !== undefined) {
    try {
      digest = parseDigest(digestText);
    } catch {
      fail('"@" must be followed by a digest: "sha256:" and 64 lower-case hex digits');
    }
  }
  return {
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Checks a name and returns its familiar form. */
function familiarName(name: string, fail: (why: string) => never): string {
  if (name === '') fail('the name is missing before the tag or digest');
  const { host, path } = splitHost(name);

  if (!HOST.test(host) && !COMPONENT.test(host))
    fail(`${JSON.stringify(host)} is not a registry host; it must be HOST[:PORT]`);
  for (const component of path.split('/')) checkComponent(component, fail);
  const canonical = `${host}/${path}`;
  if (canonical.length > MAX_NAME) {
    fail(`the name has ${canonical.length} bytes with its registry; ${MAX_NAME} are allowed`);
  }

  const familiar = toFamiliar(host, path);
  // docker.io/ghcr.io/x would become `ghcr.io/x`, which means another registry.
  if (canonicalName(familiar) !== canonical) {
    fail(`on ${DEFAULT_HOST} the first part of a name must not look like a registry host`);
  }
  // The message is dockerd's.
  if (familiar === 'sha256')
    fail('refusing to create an ambiguous tag using digest algorithm as name: sha256:… is an image id');
  return familiar;
}

function checkComponent(component: string, fail: (why: string) => never): void {
  if (COMPONENT.test(component)) return;
  if (component === '') fail('the name has an empty part (remove the extra "/")');
  const quoted = JSON.stringify(component);
  if (component !== component.toLowerCase()) fail(`${quoted} has upper-case letters; names are lower case`);
  if (/^[a-z0-9._-]+$/.test(component)) {
    fail(
      `${quoted} must start and end with a letter or digit, with one ".", one or two "_" or any "-" between`,
    );
  }
  fail(`${quoted} has characters other than a-z, 0-9, ".", "_" and "-"`);
}

function checkTag(tag: string, fail: (why: string) => never): void {
  if (tag === '') fail('the tag is empty; leave the ":" out or give a tag');
  if (tag.length > MAX_TAG) fail(`the tag has ${tag.length} characters; ${MAX_TAG} are allowed`);
  if (!TAG.test(tag)) {
    fail(`the tag ${JSON.stringify(tag)} may have A-Z, a-z, 0-9, "_", "." and "-", not "." or "-" first`);
  }
}

/** Returns whether the text is a tag. */
export function isTag(text: string): boolean {
  return text.length <= MAX_TAG && TAG.test(text);
}

function splitHost(name: string): { host: string; path: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  if (slash < 0 || !(/[.:]/.test(first) || first === 'localhost')) {
    return { host: DEFAULT_HOST, path: slash < 0 ? OFFICIAL + name : name };
  }
  const host = first === LEGACY_HOST ? DEFAULT_HOST : first;
  const path = name.slice(slash + 1);
  return { host, path: host === DEFAULT_HOST && !path.includes('/') ? OFFICIAL + path : path };
}

function toFamiliar(host: string, path: string): string {
  if (host !== DEFAULT_HOST) return `${host}/${path}`;
  const short = path.startsWith(OFFICIAL) ? path.slice(OFFICIAL.length) : path;
  return short.includes('/') ? path : short;
}

/** Returns the reference, with the tag `latest` where it has neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  if (reference.tag !== undefined || reference.digest !== undefined) return reference;
  return { ...reference, tag: 'latest' };
}

/** `name[:tag][@digest]` in familiar form; with a tag or a digest it is an inner key of repositories.json. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return reference.repository + tag + digest;
}

/** Returns the name with its registry: `docker.io/library/alpine` for `alpine`. */
export function canonicalName(repository: string): string {
  const { host, path } = splitHost(repository);
  return `${host}/${path}`;
}
