// Keys and spend, and the settings in effect: for admins.
import { html, send, useState, usePoll, count, usd } from "../lib.js";
import { Badge, Card, Figure, Figures, Loaded, Message, Table } from "../parts.js";

const SOURCES = { default: "default", config_file: "CONFIG_FILE", dotenv: ".env", environment: "environment" };

function SettingsTable({ list }) {
  const [all, setAll] = useState(false);
  const rows = all ? list : list.filter((one) => one.source !== "default");
  return html`
    <label class="check"><input type="checkbox" checked=${all} onChange=${(e) => setAll(e.target.checked)} /> Show those with their default, too</label>
    <${Table} label="Settings in effect" rows=${rows} keyOf=${(one) => one.name} empty="All settings have their default."
      columns=${[
        ["Setting", (one) => html`<span class="id">${one.name}</span><div class="note">${one.description}</div>`],
        ["Value", (one) => html`<span class="id">${one.value === "" ? "empty" : one.value}</span>`],
        ["Set by", (one) => html`<${Badge}>${SOURCES[one.source] || one.source}<//>`],
      ]} />`;
}

const SUMMED = ["requests", "prompt_tokens", "completion_tokens", "unknown_costs", "cost_usd"];

// Rows of days become one row a key, the one that spent most first.
function byKey(rows) {
  const keys = new Map();
  for (const row of rows) {
    const sums = keys.get(row.owner) || { owner: row.owner, ...Object.fromEntries(SUMMED.map((name) => [name, 0])) };
    for (const name of SUMMED) sums[name] += row[name];
    keys.set(row.owner, sums);
  }
  return [...keys.values()].sort((a, b) => b.cost_usd - a.cost_usd || b.requests - a.requests);
}

const sumOf = (rows, name) => rows.reduce((sum, row) => sum + row[name], 0);

function Download({ days }) {
  const [error, setError] = useState("");
  const save = async () => {
    try {
      const response = await send(`spend?days=${days}`, { headers: { Accept: "text/csv" } });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await response.blob());
      link.download = `spend-${days}-days.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
      setError("");
    } catch (problem) {
      setError(problem.message);
    }
  };
  return html`<button type="button" class="small" onClick=${save}>Save as CSV</button>${error && html`<${Message} kind="error">${error}<//>`}`;
}

const LIMITS = [
  ["requests_per_minute", (value) => `${count(value)} requests a minute`],
  ["tokens_per_minute", (value) => `${count(value)} tokens a minute`],
  ["usd_per_day", (value) => `${usd(value)} a day`],
];

const limitsOf = (of) => LIMITS.filter(([name]) => of[name] != null).map(([name, shown]) => shown(of[name])).join(", ") || "none";

function Spend({ found, days }) {
  const { data: rows, limits } = found;
  const amounts = [
    ["Requests", (row) => count(row.requests), "number"],
    ["Tokens in", (row) => count(row.prompt_tokens), "number"],
    ["Tokens out", (row) => count(row.completion_tokens), "number"],
    ["Cost", (row) => html`${usd(row.cost_usd)}${row.unknown_costs > 0 && html`<div class="note">${count(row.unknown_costs)} of unknown cost</div>`}`, "number"],
  ];
  return html`
    <${Figures}>
      <${Figure} label="Cost of all keys" value=${usd(sumOf(rows, "cost_usd"))} /><${Figure} label="Requests of all keys" value=${count(sumOf(rows, "requests"))} />
    <//>
    <${Table} label="Spend by key" rows=${byKey(rows)} keyOf=${(row) => row.owner} empty="No requests in this time."
      columns=${[["Key", (row) => html`<span class="id">${row.owner}</span>`], ...amounts, ["Limits", (row) => limitsOf(limits[row.owner])]]} />
    <details><summary>By day (UTC)</summary><${Table} label="Spend by day and key" rows=${rows} keyOf=${(row) => row.day + row.owner} empty="No requests in this time."
      columns=${[["Day", (row) => row.day], ["Key", (row) => html`<span class="id">${row.owner}</span>`], ...amounts]} /></details>
    <${Download} days=${days} />`;
}

export function Keys() {
  const [days, setDays] = useState("7");
  const settings = usePoll("settings", 60);
  const spend = usePoll(`spend?days=${days}`, 15);
  return html`
    <${Card} wide title="Spend by key" note="A key is shown by the first 16 digits of its SHA-256, as in KEY_LIMITS; “public” is without a key.">
      <label>Time <select name="days" value=${days} onChange=${(e) => setDays(e.target.value)}>
        <option value="1">today (UTC)</option><option value="7">7 days</option><option value="30">30 days</option></select></label>
      <${Loaded} of=${spend} what="Spend">${(found) => html`<${Spend} found=${found} days=${days} />`}<//>
    <//>
    <${Card} wide title="Settings in effect" note="Secrets are masked. Settings are changed in the environment, in .env or in CONFIG_FILE.">
      <${Loaded} of=${settings} what="Settings" missing="This gateway does not show its settings.">${(found) => html`<${SettingsTable} list=${found.data} />`}<//>
    <//>`;
}
