import type { DatabaseHealth } from '../../engine/index.ts';

/** The newest file of one level, as far as is known without asking the replica. */
export interface LevelView {
  readonly level: number;
  readonly txid: bigint;
  /** RFC 3339. */
  readonly createdAt: string;
}

/** What the page shows of one database. */
export interface DashboardRow extends DatabaseHealth {
  readonly replicas: readonly {
    readonly name: string;
    readonly type: string;
    readonly txid: bigint | undefined;
    readonly levels: readonly LevelView[];
  }[];
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (char) => ESCAPES[char] ?? char);
}

function formatTxid(txid: bigint): string {
  return txid.toString(16).padStart(16, '0');
}

const STYLE = `body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#222}
table{border-collapse:collapse}th,td{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}
td{font-family:ui-monospace,monospace}.unhealthy{color:#b00020;font-weight:bold}.stopped,.starting{color:#777}`;

function levelText({ level, txid, createdAt }: LevelView): string {
  const name = level === 9 ? 'snapshot' : `level ${level}`;
  return `${name} ${formatTxid(txid)} ${createdAt}`;
}

function replicaText({ name, type, txid, levels }: DashboardRow['replicas'][number]): string {
  const shown = name === type ? name : `${name} (${type})`;
  const position = txid === undefined ? 'not reached yet' : formatTxid(txid);
  return [`${shown}: ${position}`, ...levels.map(levelText)].map(escaped).join('<br>');
}

function rowHtml(row: DashboardRow): string {
  const { lagMs, path, replicas, status, txid } = row;
  const cells = [
    escaped(path),
    `<span class="${status}">${status}</span>`,
    formatTxid(txid),
    `${(lagMs / 1000).toFixed(1)} s`,
    replicas.map(replicaText).join('<br>'),
  ];
  return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
}

/** One page for people: where each database and its replicas stand. No location, no credential. Spec: interfaces 8.3. */
export function dashboardHtml(rows: readonly DashboardRow[], version: string): string {
  const heads = [
    'database',
    'status',
    'txid',
    'lag',
    'replicas: complete up to, newest restore points',
  ];
  const body =
    rows.length === 0
      ? '<p>No databases.</p>'
      : `<table><thead><tr>${heads.map((head) => `<th>${head}</th>`).join('')}</tr></thead>
<tbody>${rows.map(rowHtml).join('\n')}</tbody></table>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10"><title>Litestream</title>
<style>${STYLE}</style></head><body><h1>Litestream ${escaped(version)}</h1>
${body}
<p><a href="metrics">metrics</a> · <a href="healthz">health</a></p></body></html>
`;
}
