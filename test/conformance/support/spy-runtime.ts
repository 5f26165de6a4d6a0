/**
 * A runtime that starts nothing: it keeps the `config.json` that it is handed, and fails. A dockerd that has it as its default runtime
 * thereby says what it hands to runc, whatever this machine could do of it.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export class SpyRuntime {
  readonly path: string;
  readonly #kept: string;

  constructor(directory: string) {
    this.path = join(directory, 'spy-runtime');
    this.#kept = join(directory, 'kept');
    mkdirSync(this.#kept, { recursive: true });
    // containerd's shim calls `RUNTIME … create --bundle DIR … ID`, and whatever else of runc.
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
cp "$bundle/config.json" "${this.#kept}/$(basename "$bundle").json"
exit 1
`;
    writeFileSync(this.path, script);
    chmodSync(this.path, 0o755);
  }

  /** What a container was to be run with; undefined where dockerd did not come to it. */
  config(id: string): Record<string, unknown> | undefined {
    const path = join(this.#kept, `${id}.json`);
    // Numbers beyond those of JavaScript become texts: a limit of none has 64 ones.
    return existsSync(path)
      ? (JSON.parse(readFileSync(path, 'utf8').replace(/(?<=[:[,\s])\d{16,}(?=[\s,\]}])/g, '"$&"')) as Record<
          string,
          unknown
        >)
      : undefined;
  }
}
