/** Number of code points. */
function width(text: string): number {
  return Array.from(text).length;
}

/**
 * Lays out rows under a header: each cell but the last of its row is padded to the widest of its column plus two blanks. No
 * trailing blanks.
 *
 * Spec: cli 20.1.
 */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ''))));
  const lines = all.map((row) =>
    row
      .map((cell, column) =>
        column === row.length - 1
          ? cell
          : cell + ' '.repeat((widths[column] ?? 0) - width(cell) + 2),
      )
      .join('')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}
