// Traffic over time, and what choices were expected to bring: figures of the last hour, day or week.
import { html, useState, usePoll, count, milliseconds, percent, score, signed, usd } from "./lib.js";
import { Card, Figure, Figures, Loaded, Table } from "./parts.js";
import { Chart, trimmed } from "./chart.js";

const RANGES = [
  ["hour", "Last hour", 60, 2],
  ["day", "Last day", 1440, 30],
  ["week", "Last week", 10080, 180],
];

const part = (number, of) => percent(of ? number / of : 0);

function Total({ total }) {
  const user = total.scores.user;
  return html`<${Figures}>
    <${Figure} label="Requests in this time" value=${count(total.requests)} note=${`${count(total.failed)} failed, ${count(total.cancelled)} cancelled`} />
    <${Figure} label="Cost" value=${usd(total.cost_usd)} note=${total.unknown_costs ? `and ${count(total.unknown_costs)} requests of unknown cost` : ""} />
    <${Figure} label="Tokens" value=${count(total.prompt_tokens + total.completion_tokens)} />
    <${Figure} label="Mean rating" value=${user ? score(user.mean) : "none yet"} note=${user ? `${count(user.count)} ratings` : ""} />
    <${Figure} label="Explored" value=${part(total.explored, total.requests)} />
    <${Figure} label="Fallback" value=${part(total.fallback, total.requests)} tone=${total.fallback ? "warn" : ""} />
    <${Figure} label="Degraded" value=${part(total.degraded, total.requests)} tone=${total.degraded ? "warn" : ""} />
    <${Figure} label="Model's time, median" value=${milliseconds(total.upstream_ms.p50)} note=${`95 % within ${milliseconds(total.upstream_ms.p95)}`} />
    <${Figure} label="Router's time, median" value=${milliseconds(total.overhead_ms.p50)} note=${`95 % within ${milliseconds(total.overhead_ms.p95)}`} />
  <//>`;
}

function Charts({ stats }) {
  const names = Object.keys(stats.arms).sort();
  const data = trimmed(stats.data, (step) => step.total.requests > 0);
  const times = data.map((step) => step.at);
  const byArm = (read) => names.map((name) => ({ name, values: data.map((step) => (step.arms[name] ? read(step.arms[name]) : null)) }));
  const mean = (step, source) => (step.total.scores[source] ? step.total.scores[source].mean : null);
  const sources = Object.keys(stats.total.scores).sort();
  const quality = sources.map((name) => ({ name, values: data.map((step) => mean(step, name)) }));
  const cost = [{ name: "all models", values: data.map((step) => step.total.cost_usd) }];
  return html`<div class="charts">
    <${Chart} label="Requests by model" times=${times} series=${byArm((one) => one.requests)} unit=${count} stack />
    ${sources.length > 0 && html`<${Chart} label="Mean score by source" times=${times} series=${quality} unit=${score} low=${0} high=${1} />`}
    <${Chart} label="Cost" times=${times} series=${cost} unit=${usd} />
  </div>`;
}

function Range({ value, onChange }) {
  return html`<div class="row" role="group" aria-label="Time">
    ${RANGES.map(([name, label]) => html`<button type="button" class="small" aria-pressed=${value === name ? "true" : "false"} onClick=${() => onChange(name)}>${label}</button>`)}
  </div>`;
}

// A view over time, `stats` or `posteriors`, and the range that it shows.
export function useRange(view) {
  const [range, setRange] = useState("hour");
  const [, , minutes, step] = RANGES.find(([name]) => name === range);
  return { found: usePoll(`${view}?minutes=${minutes}&step=${step}`, 5), choice: html`<${Range} value=${range} onChange=${setRange} />` };
}

// Decisions by the best expectation until what exploring gave up is made good, by what was believed.
function paidBack({ decisions, lift, regret }) {
  if (lift >= 0) return "paid back";
  return lift + regret > 0 ? count(Math.ceil((-lift * decisions) / (lift + regret))) : "not in sight";
}

// What the choices of this time were expected to bring, against always one model.
export function Expected({ expected, fallback }) {
  if (!expected || !expected.lift_over) return html`<p class="empty">No routed requests in this time.</p>`;
  const rows = Object.entries(expected.lift_over).map(([arm, lift]) => ({ arm, lift })).sort((a, b) => a.lift - b.lift);
  return html`
    <p class="note">Means of ${count(expected.decisions)} decisions, by what was believed at the time. Utility is quality with the terms of cost and speed, by the weights in effect.</p>
    <${Figures}>
      <${Figure} label="Expected gain over the best single model" value=${signed(expected.lift)} note=${`always ${expected.best_fixed}`} tone=${expected.lift > 0 ? "good" : ""} />
      <${Figure} label="Given up for exploring and failures" value=${score(expected.regret)} note="utility a decision" />
      <${Figure} label="Expected requests until exploring has paid back" value=${paidBack(expected)} note="against the best single model" />
    <//>
    <${Table} label="Expected gain over always one model" rows=${rows} keyOf=${(row) => row.arm}
      columns=${[["Compared with always", (row) => html`${row.arm}${row.arm === fallback ? " (default model)" : ""}`, "model"], ["Expected gain in utility", (row) => signed(row.lift), "number"]]} />`;
}

export function Traffic({ shown }) {
  return html`<${Card} wide title="Traffic over time">
    ${shown.choice}
    <${Loaded} of=${shown.found} what="Traffic over time">${(stats) => html`<${Total} total=${stats.total} />
      ${stats.total.requests > 0 ? html`<${Charts} stats=${stats} />` : html`<p class="empty">No requests in this time.</p>`}`}<//>
  <//>`;
}
