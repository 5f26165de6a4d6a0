/**
 * The JSON schemas of image-spec and runtime-spec, from Debian's
 * golang-github-opencontainers-{image-spec,specs}-dev.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Ajv from 'ajv';

const SPECS = '/usr/share/gocode/src/github.com/opencontainers';
const DRAFT_04 = join(import.meta.dirname, '../../../node_modules/ajv/lib/refs/json-schema-draft-04.json');

/**
 * Reads a schema without its ids: they are addresses, and references to the other files would be resolved
 * against them.
 */
const readSchema = (path: string): object =>
  JSON.parse(readFileSync(path, 'utf8'), (key, value: unknown) =>
    key === 'id' && typeof value === 'string' ? undefined : value,
  ) as object;

/** The schemas of a specification, which refer to each other by their file names. */
export class Schemas {
  readonly #ajv = new Ajv({ schemaId: 'auto', allErrors: true, extendRefs: true });

  constructor(specification: string) {
    this.#ajv.addMetaSchema(JSON.parse(readFileSync(DRAFT_04, 'utf8')) as object);
    const folder = join(SPECS, specification, 'schema');
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.json')))
      this.#ajv.addSchema(
        { ...readSchema(join(folder, file)), $schema: 'http://json-schema.org/draft-04/schema#' },
        file,
      );
  }

  /** Returns the errors of a document; empty if it is valid. */
  errors(schema: string, document: Uint8Array | string): string {
    const valid = this.#ajv.validate(schema, JSON.parse(Buffer.from(document).toString()));
    return valid === true ? '' : this.#ajv.errorsText();
  }
}
