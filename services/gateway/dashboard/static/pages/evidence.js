// Evidence: what quality is learned from, how sources agree, what evaluations cost, and what could not be learned.
import { html, getJson, useState, usePoll, count, percent, score, seconds, signed, usd, words } from "../lib.js";
import { Badge, Belief, Card, Confirm, Figure, Figures, Loaded, Message, Share, Table } from "../parts.js";

const MEANING = {
  judge: "a model that compares answers",
  eval: "imported or own evaluations",
  check: "free checks of each answer, such as cut or empty",
  implicit: "what users do, such as asking again",
};

const Z_95 = 1.96;

function agreement({ scores, shift, bias_sd }) {
  if (scores === 0) return "no scores yet";
  const side = Math.abs(shift) < 0.005 ? "No difference from users seen" : `Scores ${score(Math.abs(shift))} ${shift > 0 ? "higher" : "lower"} than users`;
  return `${side}; of single models it may differ by ± ${score(Z_95 * bias_sd)} more.`;
}

function Sources({ arms }) {
  const requests = arms.data.reduce((sum, arm) => sum + arm.requests, 0);
  const user = { source: "user", scores: arms.data.reduce((sum, arm) => sum + arm.labels, 0) };
  return html`<${Table} label="Scores by source" rows=${[user, ...arms.sources]} keyOf=${(row) => row.source}
    columns=${[
      ["Source", (row) => html`<strong>${row.source}</strong><div class="note">${row.source === "user" ? "ratings by people" : MEANING[row.source]}</div>`],
      ["Scores", (row) => count(row.scores), "number"],
      ["Coverage of requests", (row) => html`<${Share} value=${requests ? Math.min(1, row.scores / requests) : 0} />`, "drawn"],
      ["Agreement", (row) => (row.source === "user" ? "the reference" : agreement(row))],
    ]} />`;
}

// A difference of -0.5 to 0.5, drawn on the scale from 0 to 1.
const Difference = ({ of }) =>
  of == null || of.difference == null
    ? html`<span class="note">users have not rated the same answers</span>`
    : html`<${Belief} low=${0.5 + of.difference - Z_95 * of.difference_sd} mean=${0.5 + of.difference} high=${0.5 + of.difference + Z_95 * of.difference_sd}
        label=${`difference ${signed(of.difference)}, 95 % within ${score(Z_95 * of.difference_sd)}`} />
        <span class="note">${signed(of.difference)} ± ${score(Z_95 * of.difference_sd)}</span>`;

const ByModel = ({ arms }) => html`<${Table} label="Difference from users, by model and source" rows=${arms.data} keyOf=${(arm) => arm.arm}
  columns=${[["Model", (arm) => arm.arm, "model"], ["Ratings by users", (arm) => count(arm.labels), "number"],
    ...arms.sources.map((one) => [`${words(one.source)} less users`, (arm) => html`<${Difference} of=${arm.sources[one.source]} />`, "drawn"])]} />`;

function Evaluations({ health }) {
  if (!health.parts) return html`<p class="empty">An operator's key shows the state of evaluations.</p>`;
  const of = health.evaluations;
  if (!of) return html`<p class="empty">Evaluations are off. Set JUDGE_MODEL, and other models answer some prompts beside the user's path; a judge scores all answers.</p>`;
  return html`<${Figures}>
    <${Figure} label="Judge" value=${of.judge} />
    <${Figure} label="Spent today (UTC)" value=${usd(of.spent_usd)} note=${`of ${usd(of.budget_usd)} a day (${percent(of.budget_usd ? of.spent_usd / of.budget_usd : 0)})`} />
    <${Figure} label="Waiting" value=${count(of.waiting)} note=${of.waiting ? `the oldest for ${seconds(of.oldest_s)}` : ""} />
    <${Figure} label="State" value=${of.trouble ? of.trouble : "works"} tone=${of.trouble ? "warn" : "good"} />
  <//>`;
}

function Letters({ list, refresh }) {
  const [answer, setAnswer] = useState(null);
  const requeue = async () => {
    try {
      const { requeued } = await getJson("dead-letters/requeue", { method: "POST" });
      setAnswer({ kind: "good", text: `${count(requeued)} events were put back, to be learned.` });
      refresh();
    } catch (error) {
      setAnswer({ kind: "error", text: error.message });
    }
  };
  return html`
    ${answer && html`<${Message} kind=${answer.kind}>${answer.text}<//>`}
    <${Table} label="Dead letters" rows=${list.data} keyOf=${(row) => row.id} empty="None: all events were learned, or wait."
      columns=${[
        ["Request", (row) => html`<a class="id" href=${`#/requests/${encodeURIComponent(row.request_id)}`}>${row.request_id}</a>`],
        ["Event", (row) => `${row.kind} ${row.revision}`],
        ["Reason", (row) => row.reason],
      ]} />
    ${list.total > list.data.length && html`<p class="note">The oldest ${count(list.data.length)} of ${count(list.total)}.</p>`}
    ${list.total > 0 && html`<p><${Confirm} label="Requeue all" question=${`Put back ${count(list.total)} events?`} onYes=${requeue} /></p>
      <p class="note">First repair the cause. Needs an admin key. No event is learned twice.</p>`}`;
}

function Queue({ health }) {
  const queue = health.parts && health.parts.queue;
  if (!queue) return html`<p class="empty">An operator's key shows the queue.</p>`;
  return html`<p><${Badge} tone=${queue.status === "ok" ? "good" : "warn"}>${queue.status}<//> ${queue.detail}</p>`;
}

export function Evidence({ health }) {
  const arms = usePoll("arms", 5);
  const letters = usePoll("dead-letters", 5);
  return html`
    <${Card} wide title="Scores by source" note="Quality is learned from all of these; each source is corrected by how it differs from users where both have scored.">
      <${Loaded} of=${arms}>${(found) => html`<${Sources} arms=${found} />`}<//><//>
    <${Card} wide title="Difference from users"><${Loaded} of=${arms}>${(found) => html`<${ByModel} arms=${found} />`}<//><//>
    <${Card} title="Evaluations"><${Loaded} of=${health}>${(found) => html`<${Evaluations} health=${found} />`}<//><//>
    <${Card} title="Events to learn"><${Loaded} of=${health}>${(found) => html`<${Queue} health=${found} />`}<//>
      <h3>Dead letters: events that could not be learned</h3>
      <${Loaded} of=${letters} what="The list of dead letters">${(found) => html`<${Letters} list=${found} refresh=${letters.refresh} />`}<//><//>`;
}
