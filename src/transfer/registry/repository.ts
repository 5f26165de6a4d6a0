/**
 * A repository for requests: its path in the API, the scopes to ask for, and the names of its objects in
 * errors.
 */
import { isDigest, type Digest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { isTag, parseReference } from '../../core/reference.ts';
import { locateRepository, type RegistryAddress } from './address.ts';
import type { Scope } from './auth/authorizer.ts';
import type { Subject } from './error.ts';

export class Repository {
  /** The name in familiar form: `alpine`, `localhost:5000/x`. */
  readonly name: string;
  readonly registry: RegistryAddress;
  /** The path in the API: `library/alpine`. */
  readonly path: string;

  /** @throws {@link LayerstackError} ERR_REFERENCE_INVALID unless it is a name without tag and digest. */
  constructor(name: string) {
    const { repository, tag, digest } = parseReference(name);
    if (tag !== undefined || digest !== undefined)
      throw new LayerstackError(
        'ERR_REFERENCE_INVALID',
        `${JSON.stringify(name)} has a tag or a digest; give the repository's name alone`,
        { reference: name },
      );
    const { registry, path } = locateRepository(repository);
    this.name = repository;
    this.registry = registry;
    this.path = path;
  }

  /** Returns the scope for actions as token servers spell them: `pull`, `pull,push`, `delete`. */
  scope(actions: string): Scope {
    return `repository:${this.path}:${actions}`;
  }

  /**
   * Returns the path of a manifest in the API.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID for a text that is neither tag nor digest, which
   *   would be another path.
   */
  manifestPath(tagOrDigest: string): string {
    if (!isTag(tagOrDigest) && !isDigest(tagOrDigest))
      throw new LayerstackError(
        'ERR_REFERENCE_INVALID',
        `${JSON.stringify(tagOrDigest.slice(0, 200))} is neither a tag nor a digest of ${this.name}`,
        { repository: this.name },
      );
    return `${this.path}/manifests/${tagOrDigest}`;
  }

  /** Describes a manifest or index that the server `label` is asked for. */
  manifest(tagOrDigest: string, label: string): Subject {
    const digest = isDigest(tagOrDigest);
    const reference = `${this.name}${digest ? '@' : ':'}${tagOrDigest}`;
    return {
      ...this.subject(`manifest ${reference}`, label),
      reference,
      ...(digest && { digest: tagOrDigest }),
    };
  }

  blob(digest: Digest, label: string): Subject {
    return { ...this.subject(`blob ${digest} of ${this.name}`, label), digest };
  }

  subject(what: string, label: string): Subject {
    return { what, registry: label, repository: this.name };
  }
}
