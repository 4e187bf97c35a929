// Models: what is believed of each one, in all and by kind of prompt; an admin adds and removes models here.
import { html, useState, usePoll, send, part, count, percent, score, usd, perMillion, seconds } from "../lib.js";
import { Chart, trimmed } from "../chart.js";
import { useRange } from "../traffic.js";
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

const bySource = (arm) =>
  [`${count(arm.labels)} user`, ...Object.entries(arm.sources || {}).map(([source, of]) => `${count(of.scores)} ${source}`)].join(", ");

const Quality = ({ arm }) => html`
  <${Belief} low=${arm.quality_low} mean=${arm.quality} high=${arm.quality_high} />
  <span class="note">${score(arm.quality)} (${score(arm.quality_low)} to ${score(arm.quality_high)})<br />scores: ${bySource(arm)}</span>`;

function useChange(refresh) {
  const [name, setName] = useState("");
  const [answer, setAnswer] = useState(null);
  const change = async (method, arm) => {
    try {
      await send(`arms/${part(arm)}`, { method });
      setAnswer({ kind: "good", text: method === "PUT" ? `${arm} gets requests.` : `${arm} gets no more requests. What was learned of it is kept.` });
      refresh();
    } catch (error) {
      setAnswer({ kind: "error", text: error.message });
    }
  };
  const add = (event) => {
    event.preventDefault();
    change("PUT", name.trim());
  };
  return { answer, change, form: html`
    <form class="row" onSubmit=${add}>
      <label>Add a model <input required value=${name} onInput=${(e) => setName(e.target.value)} placeholder="provider/model" /></label>
      <button type="submit">Add</button>
    </form>
    <p class="note">Changes need an admin key. They last until the next change. What was learned of a model stays, and counts again when it is back.</p>` };
}

const Paused = ({ names, resume }) => html`
  <h3>Paused</h3>
  <ul>${names.map((name) => html`<li>${name} <button type="button" class="small" onClick=${() => resume(name)}>Resume</button></li>`)}</ul>`;

function ModelTable({ found, health, refresh }) {
  const { data: list, kinds, added, removed } = found;
  const { answer, change, form } = useChange(refresh);
  const best = bestFor(kinds);
  const states = (health.data && health.data.arms) || {};
  const columns = [
    ["Model", (arm) => html`<${Name} arm=${arm} state=${states[arm.arm]} />`, "model"],
    ["Quality, with 95 % interval", (arm) => html`<${Quality} arm=${arm} />`, "drawn"],
    ["Share of requests", (arm) => html`<${Share} value=${arm.share} />`, "drawn"],
    ["Best for", (arm) => html`${percent(best[arm.arm] || 0)}<span class="hidden"> of the traffic</span>`, "number"],
    ["An answer", (arm) => html`${usd(arm.cost_usd)}<br />${seconds(arm.latency_s)}`, "number"],
    ["Reliability", (arm) => percent(arm.reliability), "number"],
    ["Evidence kept", (arm) => percent(arm.kept), "number"],
    ["Change", (arm) => {
      const label = added.includes(arm.arm) ? "Remove" : "Pause";
      return html`<${Confirm} label=${label} question=${`${label} ${arm.arm}?`} onYes=${() => change("DELETE", arm.arm)} />`;
    }],
  ];
  return html`<${Card} wide title="Models" note="Quality is what ratings and other scores say of answers, from 0 to 1. “Best for” is the share of traffic in whose kinds of prompt the model has the highest expected utility. Ratings from before a model became worse are kept in part.">
    ${answer && html`<${Message} kind=${answer.kind}>${answer.text}<//>`}
    <${Table} label="Models and what is believed of them" columns=${columns} rows=${list} keyOf=${(arm) => arm.arm} empty="There are no models." />
    ${removed.length > 0 && html`<${Paused} names=${removed} resume=${(name) => change("PUT", name)} />`}
    ${form}
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
    return html`<strong>${kind.words.join(", ") || `Kind ${kind.id}`}</strong>
      <div class="note">${example ? html`“${example.prompt.slice(0, 80)}”, ` : ""}${count(kind.size)} requests, ${count(kind.labels)} ratings</div>`;
  };
  return html`
    <p class="note">Expected quality; a stronger colour is better. The outlined model is expected to be the best one for its price and speed, with the probability in the last column. ${count(kinds.length)} of ${count(total)} kinds${prompts === "not_stored" ? "; set STORE_PROMPTS to see their typical words" : ""}.</p>
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

function History() {
  const { found, choice } = useRange("posteriors");
  return html`<${Card} wide title="Belief over time" note="Expected quality of each model, with its 95 % interval as a band.">
    ${choice}
    <${Loaded} of=${found} what="The belief over time">${(stored) => {
      const data = trimmed(stored.data, (step) => Object.keys(step.arms).length > 0);
      const names = [...new Set(data.flatMap((step) => Object.keys(step.arms)))].sort();
      if (names.length === 0) return html`<p class="empty">Nothing was stored in this time.</p>`;
      const of = (name, field) => data.map((step) => step.arms[name]?.[field] ?? null);
      return html`<${Chart} label="Expected quality by model" times=${data.map((step) => step.at)} unit=${score} low=${0} high=${1}
        series=${names.map((name) => ({ name, values: of(name, "quality"), low: of(name, "quality_low"), high: of(name, "quality_high") }))} />`;
    }}<//>
  <//>`;
}

export function Models({ health }) {
  const arms = usePoll("arms?kinds=1&limit=20", 5);
  return html`<${Loaded} of=${arms} what="The list of models">${(found) => html`
    <${ModelTable} found=${found} health=${health} refresh=${arms.refresh} />
    <${Card} wide title="Kinds of prompt"><${Heat} kinds=${found.kinds} total=${found.kinds_total} prompts=${found.prompts} /><//>
    <${History} />`}
  <//>`;
}
