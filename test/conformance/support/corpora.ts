/** The tars of all corpora: those of this suite, of Go's archive/tar and of tar-split. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { must } from '../../support/process.ts';
import { CASES, REFUSED } from './corpus.ts';

/** golang-go, and golang-github-vbatts-tar-split-dev. */
const FOLDERS = {
  'archive/tar': '/usr/share/go/src/archive/tar/testdata',
  "tar-split's archive/tar": '/usr/share/gocode/src/github.com/vbatts/tar-split/archive/tar/testdata',
  'tar-split': '/usr/share/gocode/src/github.com/vbatts/tar-split/tar/asm/testdata',
};

/** The programs that make tars of the corpora, or come with one. */
export const MAKERS = ['tar', 'bsdtar', 'busybox', 'python3', 'go'] as const;

/** Some files of Go's corpus have holes of 60 GB. */
export const MAX_BYTES = 1 << 28;

export interface CorpusLayer {
  readonly name: string;
  readonly tar: Buffer;
}

/** Yields every tar. `scratch` is an existing directory for the files that they are made of. */
export async function* corpora(scratch: string): AsyncGenerator<CorpusLayer> {
  const sources = join(scratch, 'sources');
  mkdirSync(sources);
  await must('python3', [fileURLToPath(new URL('sources.py', import.meta.url)), sources]);
  for (const { name, make } of CASES) yield { name, tar: await make(sources, scratch) };
  for (const { name, layer } of REFUSED) yield { name, tar: Buffer.from(layer) };
  for (const [name, folder] of Object.entries(FOLDERS))
    for (const file of readdirSync(folder)) {
      const bytes = readFileSync(join(folder, file));
      if (file.endsWith('.tar')) yield { name: `${name}: ${file}`, tar: bytes };
      if (file.endsWith('.tar.gz')) yield { name: `${name}: ${file}`, tar: gunzipSync(bytes) };
    }
}
