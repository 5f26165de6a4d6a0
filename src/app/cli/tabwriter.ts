/**
 * Aligns columns as docker's client does (golang/go: src/text/tabwriter): at least 10 wide, 3 spaces between
 * them.
 */
const MIN_WIDTH = 10;
const PADDING = 3;

/**
 * Returns the text with its tabs turned into columns. A column is as wide as its widest cell in consecutive
 * lines that have the column.
 */
export function alignTabs(text: string): string {
  const lines = text.split('\n').map((line) => line.split('\t'));
  const widths = lines.map((): number[] => []);
  const deepest = lines.reduce((most, cells) => Math.max(most, cells.length - 1), 0);
  // The text after the last tab of a line does not belong to a column.
  const has = (line: number, column: number): boolean => (lines[line]?.length ?? 0) - 1 > column;
  for (let column = 0; column < deepest; column++)
    for (let line = 0; line < lines.length; line++) {
      if (!has(line, column)) continue;
      let end = line;
      let width = MIN_WIDTH;
      for (; has(end, column); end++)
        width = Math.max(width, characters(lines[end]?.[column] ?? '') + PADDING);
      for (; line < end; line++) widths[line]?.push(width);
    }
  return lines
    .map((cells, line) =>
      cells
        .map((cell, column) =>
          column === cells.length - 1
            ? cell
            : cell + ' '.repeat((widths[line]?.[column] ?? 0) - characters(cell)),
        )
        .join(''),
    )
    .join('\n');
}

function characters(text: string): number {
  return [...text].length;
}
