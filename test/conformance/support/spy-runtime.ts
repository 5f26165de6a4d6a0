/**
 * A runtime that starts nothing: it stores the `config.json` that it gets, and fails. With it as default
 * runtime, a dockerd reveals its input to runc, even if this machine could not run the container.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export class SpyRuntime {
  readonly path: string;
  readonly #configs: string;

  constructor(directory: string) {
    this.path = join(directory, 'spy-runtime');
    this.#configs = join(directory, 'configs');
    mkdirSync(this.#configs, { recursive: true });
    // containerd's shim calls `RUNTIME … create --bundle DIR … ID`, and other commands of runc.
    const script = `#!/bin/sh
bundle=
creates=
last=
for word in "$@"; do
  [ "$last" = --bundle ] && bundle=$word
  [ "$word" = create ] && creates=yes
  last=$word
done
[ -n "$creates" ] || exec runc "$@"
cp "$bundle/config.json" "${this.#configs}/$(basename "$bundle").json"
exit 1
`;
    writeFileSync(this.path, script);
    chmodSync(this.path, 0o755);
  }

  /** Returns the config of a container; undefined if dockerd did not get that far. */
  config(id: string): Record<string, unknown> | undefined {
    const path = join(this.#configs, `${id}.json`);
    // Numbers too large for JavaScript become texts: an unlimited value has 64 one bits.
    return existsSync(path)
      ? (JSON.parse(readFileSync(path, 'utf8').replace(/(?<=[:[,\s])\d{16,}(?=[\s,\]}])/g, '"$&"')) as Record<
          string,
          unknown
        >)
      : undefined;
  }
}
