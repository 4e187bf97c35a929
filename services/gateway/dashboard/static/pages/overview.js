// Overview: is it up, what does it cost, who answers, and what does routing bring.
import { html, usePoll, capital, count, percent, signed, usd, words, milliseconds } from "../lib.js";
import { Badge, Card, Figure, Figures, Loaded, Message, Table } from "../parts.js";
import { Expected, Traffic, useRange } from "../traffic.js";

const TONES = { ok: "good", degraded: "warn", down: "bad", unknown: "" };

// What clients notice of a part that is not well.
const NOTICED = {
  redis: "Answers go on, by what was learned before. Records wait on disk, and ratings are refused until it is back.",
  qdrant: "Decisions do without similar past requests.",
  embedder: "Decisions do without the kind of the prompt and similar past requests.",
  learner: "What is rated now waits, and is learned when it is back.",
  queue: "Some events could not be learned: the page Evidence shows them.",
  postgres: "The history waits in Redis.",
  upstream: "Its models may not answer; others answer in their place.",
  snapshot: "Decisions miss what was learned lately.",
  recorder: "Records of requests wait on disk.",
  background: "A task of this gateway fails: its log says why.",
  prices: "The cost of some models is not counted: set MODEL_PRICES.",
  models_file: "The last valid file is in use.",
};

function stateInWords(health, ill) {
  if (health.draining) return "This gateway is shutting down: it finishes open requests.";
  if (health.status === "ok") return "Everything works.";
  if (ill.length === 0) return "The router answers requests, but something is degraded. An operator's key shows what.";
  return `The router answers requests, but ${ill.map(([name, one]) => `${words(name)} is ${one.status}`).join(", ")}.`;
}

function Health({ health }) {
  const open = Object.entries(health.arms || {}).filter(([, arm]) => arm.circuit !== "closed");
  const ill = Object.entries(health.parts || {}).filter(([, one]) => one.status !== "ok");
  return html`
    <${Message} kind=${health.status === "ok" ? "good" : "warning"}>${stateInWords(health, ill)}<//>
    ${ill.map(([name, one]) => html`<p><strong>${capital(words(name))}</strong>${one.detail ? `: ${one.detail}` : ""}. ${NOTICED[name] || ""}</p>`)}
    ${open.map(([arm, state]) => html`<p class="warn">${arm} is not called now: its circuit is ${words(state.circuit)}.</p>`)}
    ${health.parts && html`<details open=${ill.length > 0}><summary>${count(Object.keys(health.parts).length)} parts</summary><${Table} label="Parts" rows=${Object.entries(health.parts)} keyOf=${([name]) => name}
      columns=${[
        ["Part", ([name]) => words(name)],
        ["State", ([, one]) => html`<${Badge} tone=${TONES[one.status]}>${one.status}<//>`],
        ["Answer in", ([, one]) => (one.latency_ms == null ? "" : milliseconds(one.latency_ms)), "number"],
        ["Detail", ([, one]) => [one.version, one.detail].filter(Boolean).join(", ")],
      ]} /></details>`}`;
}

const budget = (of) => (of.budget_usd == null ? "no limit" : `of ${usd(of.budget_usd)} a day`);

function Spending({ health }) {
  if (!health.exploration) return html`<p class="empty">An operator's key shows what exploring and evaluating cost.</p>`;
  const { exploration, evaluations } = health;
  return html`<${Figures}>
    <${Figure} label="Exploring, today (UTC)" value=${usd(exploration.spent_usd)} note=${exploration.on ? budget(exploration) : "budget spent: no exploration until tomorrow"} />
    ${evaluations
      ? html`<${Figure} label="Evaluating, today (UTC)" value=${usd(evaluations.spent_usd)} note=${budget(evaluations)} />`
      : html`<${Figure} label="Evaluating" value="off" note="set JUDGE_MODEL to let a judge score answers" />`}
  <//>`;
}

const interval = (estimate) => (estimate ? `${signed(estimate.mean)} (95 %: ${signed(estimate.low)} to ${signed(estimate.high)})` : "unknown yet");

function verdict(lift) {
  if (!lift.utility) return "Too few ratings of both groups to say what routing brings.";
  if (lift.utility.low > 0) return "Routing is better than the control group.";
  if (lift.utility.high < 0) return "Routing is worse than the control group.";
  return "No difference from the control group can be seen yet.";
}

function Lift({ lift }) {
  if (!lift) {
    return html`<p class="empty">There is no control group, so what routing brings is not measured. Set CONTROL_SHARE to serve a share of the conversations without routing.</p>`;
  }
  const left = lift.requests_left;
  return html`
    <${Message} kind=${lift.utility && lift.utility.low > 0 ? "good" : lift.utility && lift.utility.high < 0 ? "error" : "info"}>${verdict(lift)}<//>
    <${Figures}>
      <${Figure} label="Utility, routed less control" value=${interval(lift.utility)} />
      <${Figure} label="Quality, routed less control" value=${interval(lift.quality)} />
      <${Figure} label="Cost of an answer, routed less control" value=${usd(lift.cost_usd)} />
      <${Figure} label="Requests until exploring has paid back" value=${left === 0 ? "paid back" : left == null ? "not in sight" : count(Math.ceil(left))} note="by the means of these estimates" />
    <//>`;
}

function Learned({ arms }) {
  const sum = (name) => arms.data.reduce((total, arm) => total + arm[name], 0);
  const [requests, labels, failures] = ["requests", "labels", "failures"].map(sum);
  if (requests + failures === 0) {
    return html`<p class="empty">No requests yet. <a href="#/try">Send one</a>, or point a client to this gateway.</p>`;
  }
  return html`<${Figures}>
    <${Figure} label="Requests" value=${count(requests)} note="recent ones count most" />
    <${Figure} label="Ratings" value=${count(labels)} note=${requests ? `${percent(Math.min(1, labels / requests))} of the requests` : ""} />
    <${Figure} label="Failed calls" value=${count(failures)} tone=${failures > 0 ? "warn" : ""} />
    <${Figure} label="Models" value=${count(arms.data.length)} />
  <//>`;
}

export function Overview({ health }) {
  const arms = usePoll("arms", 4);
  const shown = useRange("stats");
  const fallback = health.data && health.data.default_model && health.data.default_model.used;
  return html`
    <${Card} title="State"><${Loaded} of=${health} what="The state">${(found) => html`<${Health} health=${found} />`}<//><//>
    <${Card} title="What was learned from"><${Loaded} of=${arms}>${(found) => html`<${Learned} arms=${found} /><h3>Spending</h3>
      ${health.data && html`<${Spending} health=${health.data} />`}`}<//><//>
    <${Traffic} shown=${shown} />
    <${Card} wide title="What routing brings"><${Loaded} of=${arms}>${(found) => html`<h3>Measured, against a control group</h3><${Lift} lift=${found.lift} />`}<//>
      <${Loaded} of=${shown.found} what="What was expected">${(stats) => html`<h3>Expected, against always one model</h3><${Expected} expected=${stats.expected} fallback=${fallback} />`}<//><//>`;
}
