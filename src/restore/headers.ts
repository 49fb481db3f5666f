import { formatTxid } from '../formats/ltx/index.ts';
import type { FileInfo } from '../storage/index.ts';
import { fileDamage } from './damage.ts';
import type { Survey } from './survey.ts';

function range(file: FileInfo): string {
  return `(${formatTxid(file.minTxid)},${formatTxid(file.maxTxid)})`;
}

/** The headers are believed, not the names; then both must agree. Spec: formats 2.20. */
export function checkHeaders(surveys: readonly Survey[]): void {
  let last: Survey | undefined;
  for (const survey of surveys) {
    const { file, header } = survey;
    if (last === undefined && header.minTxid !== 1n) {
      throw fileDamage(file, 'cannot decode non-snapshot LTX file to SQLite database', {
        field: 'minTxid',
        offset: 16,
        expected: formatTxid(1n),
        found: formatTxid(header.minTxid),
      });
    }
    if (last !== undefined) checkNeighbours(last, survey);
    if (header.minTxid !== file.minTxid || header.maxTxid !== file.maxTxid) {
      throw fileDamage(file, 'header disagrees with the file name', {
        field: 'minTxid and maxTxid',
        offset: 16,
        expected: range(file),
        found: range({ ...file, ...header }),
      });
    }
    last = survey;
  }
}

function checkNeighbours(last: Survey, { file, header }: Survey): void {
  const before = last.header;
  if (before.pageSize !== header.pageSize) {
    throw fileDamage(
      file,
      `input files have mismatched page sizes: ${before.pageSize} != ${header.pageSize}`,
      {
        field: 'pageSize',
        offset: 8,
        expected: before.pageSize,
        found: header.pageSize,
      },
    );
  }
  if (header.minTxid <= before.maxTxid + 1n && header.maxTxid > before.maxTxid) return;
  const from = range({ ...last.file, ...before });
  const to = range({ ...file, ...header });
  throw fileDamage(file, `non-contiguous transaction ids in input files: ${from} -> ${to}`, {
    field: 'minTxid',
    offset: 16,
    expected: `a file that continues ${formatTxid(before.maxTxid)}`,
    found: to,
  });
}
