/** Reads the values of `--label`. */

/** Returns the labels, `name=value` or `name`; undefined without any. */
export function labelsOf(entries: readonly string[] | undefined): Record<string, string> | undefined {
  return entries && Object.fromEntries(entries.map(pair));
}

function pair(entry: string): [string, string] {
  const equals = entry.indexOf('=');
  return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
}
