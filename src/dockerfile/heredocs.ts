/**
 * Finds the heredocs of an instruction: `RUN <<EOF`, `COPY <<-"EOF" /target`. Mirrors `moby/buildkit:
 * frontend/dockerfile/parser/parser.go`.
 */
import { expandWord, splitWords, type Escape } from './words.ts';

/** A heredoc whose lines are not read yet. */
export interface HeredocStart {
  /** The word that ends it. */
  readonly name: string;
  /** Variables in it are expanded: its name has no quotes. */
  readonly expands: boolean;
  /** `<<-`: tabs at the beginning of its lines do not count. */
  readonly stripsTabs: boolean;
}

export interface Heredoc extends HeredocStart {
  /** Its lines as they are written, each with its end. */
  readonly content: string;
}

const TAKES_HEREDOCS = ['ADD', 'COPY', 'RUN'];
const START = /^\d*<<(-?)([^<]+)$/;

/** Returns the heredocs that the rest of an instruction names, in order. */
export function heredocsOf(instruction: string, rest: string, escape: Escape): HeredocStart[] {
  // A JSON list has no heredocs.
  if (!TAKES_HEREDOCS.includes(instruction) || !rest.includes('<<') || rest.trimStart().startsWith('['))
    return [];
  return splitWords(rest, escape).flatMap((word) => startOf(word, escape) ?? []);
}

/** Returns the heredoc that a word begins; undefined for another word. */
export function startOf(word: string, escape: Escape): HeredocStart | undefined {
  const [, dash, written = ''] = START.exec(word) ?? [];
  if (dash === undefined || /[()$`|&;]/.test(written)) return undefined;
  const name = expandWord(written, new Map(), escape);
  return name === '' ? undefined : { name, expands: name === written, stripsTabs: dash === '-' };
}

/** Returns the content as it is written to a file or run. */
export function heredocText({ content, stripsTabs }: Heredoc): string {
  return stripsTabs ? content.replace(/^\t+/gm, '') : content;
}
