// Overview: is it up, what does it cost, who answers, and what does routing bring.
import { html, usePoll, count, percent, score, signed, usd, words, milliseconds } from "../lib.js";
import { Badge, Belief, Card, Figure, Figures, Loaded, Message, Share, Table } from "../parts.js";
import { Expected, Traffic, useStats } from "../traffic.js";

const TONES = { ok: "good", degraded: "warn", down: "bad", unknown: "" };

function stateInWords(health) {
  const ill = Object.entries(health.parts || {}).filter(([, one]) => one.status !== "ok");
  if (health.draining) return "This gateway is shutting down: it finishes open requests.";
  if (health.status === "ok") return "Everything works.";
  if (ill.length === 0) return "The router answers requests, but something is degraded. An operator's key shows what.";
  return `The router answers requests, but ${ill.map(([name, one]) => `${words(name)} is ${one.status}`).join(", ")}.`;
}

function Health({ health }) {
  const open = Object.entries(health.arms || {}).filter(([, arm]) => arm.circuit !== "closed");
  return html`
    <${Message} kind=${health.status === "ok" ? "good" : "warning"}>${stateInWords(health)}<//>
    ${open.map(([arm, state]) => html`<p class="warn">${arm} is not called now: its circuit is ${state.circuit}.</p>`)}
    ${health.parts && html`<${Table} label="Parts" rows=${Object.entries(health.parts)} keyOf=${([name]) => name}
      columns=${[
        ["Part", ([name]) => words(name)],
        ["State", ([, one]) => html`<${Badge} tone=${TONES[one.status]}>${one.status}<//>`],
        ["Answer in", ([, one]) => (one.latency_ms == null ? "" : milliseconds(one.latency_ms)), "number"],
        ["Detail", ([, one]) => [one.version, one.detail].filter(Boolean).join(", ")],
      ]} />`}`;
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

const Shares = ({ arms }) => html`
  <${Table} label="Share of requests and quality of each model" rows=${[...arms].sort((a, b) => b.share - a.share)} keyOf=${(arm) => arm.arm}
    empty="There are no models."
    columns=${[
      ["Model", (arm) => arm.arm, "model"],
      ["Share of requests", (arm) => html`<${Share} value=${arm.share} />`, "drawn"],
      ["Quality", (arm) => html`<${Belief} low=${arm.quality_low} mean=${arm.quality} high=${arm.quality_high} /><span class="note">${score(arm.quality)}</span>`, "drawn"],
      ["Cost of an answer", (arm) => usd(arm.cost_usd), "number"],
    ]} />
  <p class="note"><a href="#/models">More about the models</a></p>`;

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
  const shown = useStats();
  const fallback = health.data && health.data.default_model && health.data.default_model.used;
  return html`
    <${Card} title="State"><${Loaded} of=${health} what="The state">${(found) => html`<${Health} health=${found} />`}<//><//>
    <${Card} title="What was learned from"><${Loaded} of=${arms}>${(found) => html`<${Learned} arms=${found} /><h3>Spending</h3>
      ${health.data && html`<${Spending} health=${health.data} />`}`}<//><//>
    <${Traffic} shown=${shown} />
    <${Card} wide title="What routing brings"><${Loaded} of=${arms}>${(found) => html`<h3>Measured, against a control group</h3><${Lift} lift=${found.lift} />`}<//>
      <${Loaded} of=${shown.stats} what="What was expected">${(stats) => html`<h3>Expected, against always one model</h3><${Expected} expected=${stats.expected} fallback=${fallback} />`}<//><//>
    <${Card} wide title="Models"><${Loaded} of=${arms}>${(found) => html`<${Shares} arms=${found.data} />`}<//><//>`;
}
