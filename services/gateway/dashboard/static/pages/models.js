// Models: what is believed of each one, in all and by kind of prompt; an admin adds and removes models here.
import { html, useState, usePoll, send, part, count, percent, score, usd, perMillion, seconds } from "../lib.js";
import { Chart } from "../chart.js";
import { Range, useStats } from "../traffic.js";
import { Badge, Belief, Card, Confirm, Loaded, Message, Scroll, Share, Table } from "../parts.js";

const pricing = (arm) =>
  arm.pricing
    ? `${perMillion(arm.pricing.prompt)} / ${perMillion(arm.pricing.completion)} per million tokens`
    : "no list price";

// Share of the traffic of known kinds for which each model is believed to be the best one.
function bestFor(kinds) {
  const total = kinds.reduce((sum, kind) => sum + kind.requests, 0);
  const best = {};
  for (const kind of kinds) best[kind.best.arm] = (best[kind.best.arm] || 0) + kind.requests / (total || 1);
  return best;
}

function Name({ arm, state }) {
  return html`<strong>${arm.arm}</strong>
    <div class="note">${arm.upstream} · ${pricing(arm)}${arm.context_length ? ` · ${count(arm.context_length)} tokens of context` : ""}</div>
    ${state && state.circuit !== "closed" && html`<${Badge} tone="warn">circuit ${state.circuit}<//>`}
    ${Object.keys(arm.refuses || {}).map((feature) => html`<${Badge} tone="warn">refuses ${feature}<//>`)}`;
}

const Quality = ({ of }) => html`
  <${Belief} low=${of.quality_low} mean=${of.quality} high=${of.quality_high} />
  <span class="note">${score(of.quality)} (${score(of.quality_low)} to ${score(of.quality_high)})</span>`;

const bySource = (arm) =>
  [`${count(arm.labels)} in all`, ...Object.entries(arm.sources || {}).map(([source, of]) => `${count(of.scores)} ${source}`)].join(", ");

function Change({ refresh }) {
  const [name, setName] = useState("");
  const [answer, setAnswer] = useState(null);
  const change = async (method, arm) => {
    try {
      await send(`arms/${part(arm)}`, { method });
      setAnswer({ kind: "good", text: method === "PUT" ? `${arm} was added.` : `${arm} was removed. What was learned of it is kept.` });
      refresh();
    } catch (error) {
      setAnswer({ kind: "error", text: error.message });
    }
  };
  const add = (event) => {
    event.preventDefault();
    change("PUT", name.trim());
  };
  return { answer, remove: (arm) => change("DELETE", arm), form: html`
    <form class="row" onSubmit=${add}>
      <label>Add a model <input required value=${name} onInput=${(e) => setName(e.target.value)} placeholder="provider/model" /></label>
      <button type="submit">Add</button>
    </form>
    <p class="note">Needs an admin key. A removed model is paused: what was learned of it stays, and counts again when it is added.</p>` };
}

function ModelTable({ list, kinds, health, refresh }) {
  const change = Change({ refresh });
  const best = bestFor(kinds);
  const states = (health.data && health.data.arms) || {};
  const columns = [
    ["Model", (arm) => html`<${Name} arm=${arm} state=${states[arm.arm]} />`, "model"],
    ["Quality, with 95 % interval", (arm) => html`<${Quality} of=${arm} />`, "drawn"],
    ["Scores by source", bySource, "text"],
    ["Share of requests", (arm) => html`<${Share} value=${arm.share} />`, "drawn"],
    ["Best for", (arm) => html`${percent(best[arm.arm] || 0)}<span class="hidden"> of the traffic</span>`, "number"],
    ["Cost of an answer", (arm) => usd(arm.cost_usd), "number"],
    ["Time of an answer", (arm) => seconds(arm.latency_s), "number"],
    ["Reliability", (arm) => percent(arm.reliability), "number"],
    ["Evidence kept", (arm) => percent(arm.kept), "number"],
    ["Change", (arm) => html`<${Confirm} label="Remove" question=${`Remove ${arm.arm}?`} onYes=${() => change.remove(arm.arm)} />`],
  ];
  return html`<${Card} wide title="Models" note="Quality is what ratings and other scores say of answers, from 0 to 1. “Best for” is the share of traffic in whose kinds of prompt the model has the highest expected utility.">
    ${change.answer && html`<${Message} kind=${change.answer.kind}>${change.answer.text}<//>`}
    <${Table} label="Models and what is believed of them" columns=${columns} rows=${list} keyOf=${(arm) => arm.arm} empty="There are no models." />
    ${change.form}
  <//>`;
}

// Opacity of a cell: the quality on the scale of all cells, so that differences show.
const shade = (value, [low, high]) => `color-mix(in srgb, var(--accent) ${Math.round((40 * (value - low)) / (high - low || 1))}%, transparent)`;

function Heat({ kinds, total, prompts }) {
  if (kinds.length === 0) return html`<p class="empty">No kinds of prompt are known yet: they form with the first requests.</p>`;
  const names = kinds[0].arms.map((arm) => arm.arm);
  const all = kinds.flatMap((kind) => kind.arms.map((arm) => arm.quality));
  const range = [Math.min(...all), Math.max(...all)];
  const label = (kind) => {
    const example = kind.examples.find((one) => one.prompt);
    return html`${example ? html`“${example.prompt.slice(0, 80)}”` : html`Kind ${kind.id}`}
      <div class="note">${count(kind.size)} requests, ${count(kind.labels)} ratings</div>`;
  };
  return html`
    <p class="note">Expected quality; a stronger colour is better. The outlined model is expected to be the best one for its price and speed, with the probability in the last column. ${count(kinds.length)} of ${count(total)} kinds${prompts === "not_stored" ? "; set STORE_PROMPTS to see an example of each" : ""}.</p>
    <${Scroll} label="Expected quality by kind of prompt and model">
      <table class="heatmap">
        <caption class="hidden">Expected quality by kind of prompt and model</caption>
        <thead><tr><th scope="col">Kind of prompt</th>${names.map((name) => html`<th scope="col">${name}</th>`)}<th scope="col">Best with probability</th></tr></thead>
        <tbody>${kinds.map(
          (kind) => html`<tr key=${kind.id}>
            <th scope="row">${label(kind)}</th>
            ${kind.arms.map((arm) => html`<td class=${arm.arm === kind.best.arm ? "heat best" : "heat"} style=${{ background: shade(arm.quality, range) }}
              title=${`${arm.arm}: ${score(arm.quality_low)} to ${score(arm.quality_high)}, ${count(arm.labels)} ratings`}>${score(arm.quality)}</td>`)}
            <td class="number">${percent(kind.best.probability)}</td>
          </tr>`,
        )}</tbody>
      </table>
    <//>`;
}

// Mean scores by users of each model over time.
function History() {
  const { range, setRange, stats } = useStats();
  return html`<${Card} wide title="Ratings over time" note="Mean rating by users of each model's answers.">
    <${Range} value=${range} onChange=${setRange} />
    <${Loaded} of=${stats} what="Ratings over time">${(found) => {
      const rated = Object.keys(found.arms).filter((name) => found.arms[name].scores.user).sort();
      if (rated.length === 0) return html`<p class="empty">No ratings in this time.</p>`;
      const values = (name) => found.data.map((step) => step.arms[name]?.scores.user?.mean ?? null);
      return html`<${Chart} label="Mean rating by model" times=${found.data.map((step) => step.at)} unit=${score} low=${0} high=${1}
        series=${rated.map((name) => ({ name, values: values(name) }))} />`;
    }}<//>
  <//>`;
}

export function Models({ health }) {
  const arms = usePoll("arms?kinds=1&limit=20", 5);
  return html`<${Loaded} of=${arms} what="The list of models">${(found) => html`
    <${ModelTable} list=${found.data} kinds=${found.kinds} health=${health} refresh=${arms.refresh} />
    <${Card} wide title="Kinds of prompt"><${Heat} kinds=${found.kinds} total=${found.kinds_total} prompts=${found.prompts} /><//>
    <${History} />`}
  <//>`;
}
