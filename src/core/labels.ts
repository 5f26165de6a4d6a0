/**
 * Matches docker's label filters, `name` or `name=value`, for images and containers alike.
 * Mirrors `moby/moby: api/types/filters/parse.go` (MatchKVList) at v20.10.
 */

/** Labels that a matching object has, and labels that it does not have all at once. */
export interface LabelFilters {
  /** `name` or `name=value`. */
  readonly label?: readonly string[] | undefined;
  /** `name` or `name=value`. The object must not have all of them at once. */
  readonly notLabel?: readonly string[] | undefined;
}

/** Returns whether the labels match the filter. */
export function matchesLabels(
  labels: Readonly<Record<string, string>> | null,
  { label = [], notLabel = [] }: LabelFilters,
): boolean {
  const has = (wanted: string): boolean => hasLabel(labels, wanted);
  return label.every(has) && !(notLabel.length > 0 && notLabel.every(has));
}

function hasLabel(labels: Readonly<Record<string, string>> | null, wanted: string): boolean {
  const at = wanted.indexOf('=');
  const name = at < 0 ? wanted : wanted.slice(0, at);
  if (labels === null || !Object.hasOwn(labels, name)) return false;
  return at < 0 || labels[name] === wanted.slice(at + 1);
}
