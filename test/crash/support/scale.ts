/** How much the crash suite tries: a bounded part, or all of it (`npm run test:crash`). */

export const WHOLE = process.env['LAYERSTACK_CRASH'] === 'whole';

/** Returns the number for the bounded part or for the whole suite. */
export const scaled = (bounded: number, whole: number): number => (WHOLE ? whole : bounded);

/** Prints how many points a test has tried without a violation. docs/reliability.md has these figures. */
export function report(what: string, points: number): void {
  console.info(`crash: ${what}: ${String(points)} points, 0 violations`);
}
