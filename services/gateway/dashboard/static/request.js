// The whole story of one request, in a drawer; it can be rated here.
import { html, send, useEffect, useRef, useState, usePoll, part, count, percent, score, usd, seconds, milliseconds, time, shortTime, iso, words } from "./lib.js";
import { Badge, Card, Figure, Figures, Loaded, Message, Table } from "./parts.js";
import { Decision } from "./decision.js";

export const When = ({ epoch }) => html`<time datetime=${iso(epoch)} title=${time(epoch)}>${shortTime(epoch)}</time>`;

export const Status = ({ of }) =>
  html`<${Badge} tone=${of === "answered" ? "good" : of === "failed" ? "bad" : "warn"}>${of}<//>`;

// Time in the router, then each call of a model. The calls follow one another; only their lengths are recorded.
function stepsOf(outcome) {
  const steps = [{ name: "Router, before the call", length: outcome.overhead_s }];
  for (const attempt of outcome.attempts) {
    steps.push({ name: attempt.error ? `${attempt.arm}, failed: ${words(attempt.error)}` : attempt.arm, length: attempt.duration_s, bad: attempt.error });
  }
  let begin = 0;
  return steps.map((step) => {
    const placed = { ...step, begin };
    begin += step.length || 0;
    return placed;
  });
}

function Waterfall({ outcome }) {
  const steps = stepsOf(outcome);
  const total = steps.reduce((sum, step) => sum + (step.length || 0), 0) || 1;
  return html`<div class="waterfall" role="group" aria-label="Timing">
    ${steps.map((step) => html`
      <span>${step.name}</span>
      <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="scale" width="100" height="10" />
        <rect class=${step.bad ? "mark" : "band"} x=${(step.begin / total) * 100} width=${Math.max(((step.length || 0) / total) * 100, 0.6)} height="10" /></svg>
      <span class="number">${seconds(step.length)}</span>`)}
  </div>
  ${outcome.first_token_s != null && html`<p class="note">First token after ${seconds(outcome.first_token_s)}.</p>`}`;
}

function Rate({ record, refresh }) {
  const [value, setValue] = useState(record.feedback ? record.feedback.score : 0.8);
  const [answer, setAnswer] = useState(null);
  const rate = async (event) => {
    event.preventDefault();
    try {
      await send("feedback", { method: "POST", body: { request_id: record.id, score: Number(value) } });
      setAnswer({ kind: "good", text: `Rated ${score(Number(value))}. It will be learned within seconds.` });
      refresh();
    } catch (error) {
      setAnswer({ kind: "error", text: error.message });
    }
  };
  return html`<form onSubmit=${rate}>
    <label>Your rating: <output>${score(Number(value))}</output>, from 0 (useless) to 1 (perfect)
      <input type="range" name="score" min="0" max="1" step="0.05" value=${value} onInput=${(e) => setValue(e.target.value)} /></label>
    <button type="submit" class="main">Rate this answer</button>
    ${answer && html`<${Message} kind=${answer.kind}>${answer.text}<//>`}
  </form>`;
}

function scoresOf(record) {
  const rows = Object.entries(record.scores).map(([source, rating]) => ({ source, score: rating.score, weight: rating.weight, learned: record.learned.scores[source] }));
  if (record.feedback) rows.unshift({ source: "user", score: record.feedback.score, weight: record.feedback.weight, learned: record.learned.feedback });
  const judged = record.evaluation ? record.evaluation.candidates : [];
  for (const one of judged) rows.push({ source: one.served ? "judge" : `judge, of ${one.arm}`, score: one.score, weight: null, learned: record.learned.evaluation });
  return rows;
}

function Story({ record, refresh }) {
  const { outcome, metrics } = record;
  return html`
    <${Figures}>
      <${Figure} label="Model" value=${record.model} />
      <${Figure} label="Cost" value=${usd(outcome.cost_usd)} />
      <${Figure} label="Tokens" value=${count(metrics.tokens.total)} note=${`${count(metrics.tokens.prompt)} in, ${count(metrics.tokens.completion)} out`} />
      <${Figure} label="Propensity" value=${percent(record.decision.propensity)} />
    <//>
    <p class="note"><${When} epoch=${record.created_at} /> · <${Status} of=${record.status} /> ${(outcome.failed_checks || []).map((check) => html`<${Badge} tone="warn">check failed: ${words(check)}<//> `)}</p>
    <${Card} title="Why this model"><${Decision} decision=${record.decision} /><//>
    <${Card} title="Time and attempts"><${Waterfall} outcome=${outcome} />
      <p class="note">Router ${milliseconds(metrics.latency_ms.overhead)}, models ${milliseconds(metrics.latency_ms.upstream)}, ${count(outcome.attempts.length)} ${outcome.attempts.length === 1 ? "attempt" : "attempts"}.</p><//>
    <${Card} title="Scores">
      <${Table} label="Scores by source" rows=${scoresOf(record)} empty="Nobody has rated this answer yet."
        columns=${[["Source", (row) => row.source], ["Score", (row) => score(row.score), "number"], ["Learned", (row) => (row.learned ? "yes" : "not yet")]]} />
      <${Rate} record=${record} refresh=${refresh} />
    <//>`;
}

export function Drawer({ id, onClose }) {
  const dialog = useRef(null);
  const record = usePoll(id ? `requests/${part(id)}` : null, 5);
  useEffect(() => {
    if (id && !dialog.current.open) dialog.current.showModal();
    if (!id && dialog.current.open) dialog.current.close();
  }, [id]);
  return html`<dialog class="drawer" ref=${dialog} aria-label=${`Request ${id || ""}`} onClose=${onClose}>
    ${id && html`
      <div class="top"><h2>Request <span class="id">${id}</span></h2><button type="button" class="small" onClick=${() => dialog.current.close()}>Close</button></div>
      <${Loaded} of=${record} what="This request" missing="There is no such request here, or it belongs to another key.">
        ${(found) => html`<${Story} key=${found.id} record=${found} refresh=${record.refresh} />`}
      <//>`}
  </dialog>`;
}
