// A decision, drawn: what was believed of each model, which past requests counted, and what would have changed it.
import { html, count, percent, score, usd, seconds } from "./lib.js";
import { Badge, Belief, Table } from "./parts.js";

const EVIDENCE = {
  local: "similar past requests with ratings",
  global: "what was learned from all traffic",
  default: "nothing: the default model answers until enough is known",
  pinned: "your request: it named the model",
  control: "the control group: no routing, to measure what routing brings",
  fallback: "a fallback after another model failed",
};

const Z_95 = 1.96;

// Half the 95 % interval of a model's expected utility: of its terms, only the quality is uncertain.
const reach = (arm, weights) => Z_95 * weights.quality * arm.quality_sd;

// Utilities may be below 0 or above 1; all models of one decision share a scale.
function scaleOf({ arms, weights }) {
  const ends = arms.flatMap((arm) => [arm.draw ?? arm.utility, arm.utility - reach(arm, weights), arm.utility + reach(arm, weights)]);
  return [Math.min(...ends), Math.max(...ends)];
}

// What the runner-up lacked, in utility and in quality. A pinned or held model was not chosen by a draw.
export function flip(decision) {
  const drawn = decision.arms.filter((arm) => arm.draw != null);
  const chosen = drawn.find((arm) => arm.arm === decision.model);
  if (decision.kind === "pinned" || decision.kind === "control") return "A higher estimate of another model would not have changed this choice.";
  if (!chosen || drawn.length < 2) return "No other model could have been chosen.";
  const next = drawn.filter((arm) => arm !== chosen).reduce((a, b) => (a.draw >= b.draw ? a : b));
  const gap = chosen.draw - next.draw;
  if (decision.session_held) {
    return `The conversation keeps ${chosen.arm} while its utility is close to the best. Without the conversation, ${gap >= 0 ? chosen.arm : next.arm} had the highest draw.`;
  }
  if (gap < 0) return `${next.arm} had the highest draw, but it was not used: see the reason and the attempts.`;
  const weight = decision.weights.quality;
  const quality = weight > 0 ? `, which is a quality ${(gap / weight).toFixed(3)} higher` : "";
  return `${next.arm} would have been chosen if its draw had been ${gap.toFixed(3)} higher${quality}.`;
}

export function Decision({ decision }) {
  const [low, high] = scaleOf(decision);
  const place = (value) => (value - low) / (high - low || 1);
  const columns = [
    ["Model", (arm) => html`${arm.arm === decision.model ? html`<strong>${arm.arm}</strong> <${Badge} tone="good">chosen<//>` : arm.arm}`, "model"],
    [
      "Utility, expected and drawn",
      (arm) => {
        const far = reach(arm, decision.weights);
        return html`<${Belief} tone=${arm.arm === decision.model ? "chosen" : ""} low=${place(arm.utility - far)} mean=${place(arm.utility)} high=${place(arm.utility + far)}
          mark=${arm.draw == null ? null : place(arm.draw)} label=${`expected utility ${score(arm.utility)}, 95 % within ${score(far)}; drawn ${score(arm.draw)}`} />
          <span class="note">${score(arm.utility)} ± ${score(far)}, drawn ${score(arm.draw)}</span>`;
      },
      "drawn",
    ],
    ["Probability", (arm) => percent(arm.propensity), "number"],
    ["Quality", (arm) => html`${score(arm.quality)}<div class="note">${count(arm.labels)} ratings</div>`, "number"],
    ["An answer", (arm) => html`${usd(arm.cost_usd)}<br />${seconds(arm.latency_s)}`, "number"],
  ];
  return html`
    <p>${decision.reason}</p>
    <p class="note">Decided by ${EVIDENCE[decision.kind] || decision.kind}. ${decision.explored ? "This choice explored. " : ""}Weights: quality ${score(decision.weights.quality)}, speed ${score(decision.weights.latency)}, cost ${score(decision.weights.cost)}. Bands: 95 % of what was expected. Coloured lines: draws.</p>
    ${decision.degraded.length > 0 && html`<p class="warn">Decided without: ${decision.degraded.join(", ")}.</p>`}
    <${Table} label="What was believed of each model" columns=${columns} rows=${decision.arms} keyOf=${(arm) => arm.arm} empty="No model was compared." />
    ${decision.unfit.length > 0 && html`<p class="note">Not eligible: ${decision.unfit.map((row) => Object.values(row).filter(Boolean).join(": ")).join("; ")}.</p>`}
    <h3>What would have changed it</h3><p>${flip(decision)}</p>
    <h3>Past requests that counted</h3>
    ${decision.prompt_kind && html`<p class="note">${decision.prompt_kind.new ? "A new kind of prompt." : `Kind ${decision.prompt_kind.id}`}${decision.prompt_kind.size == null ? "" : ` with ${count(decision.prompt_kind.size)} requests`}.</p>`}
    <${Table} label="Past requests that counted" rows=${decision.neighbours}
      empty=${decision.searched === false ? "Similar requests were not searched for: they do not change decisions at present." : "No similar past request with a rating counted."}
      columns=${[
        ["Request", (row) => row.request_id && html`<a class="id" href=${`#/requests/${encodeURIComponent(row.request_id)}`}>${row.request_id}</a>`],
        ["Model", (row) => row.arm],
        ["Similarity", (row) => score(row.similarity), "number"],
        ["Score", (row) => score(row.score), "number"],
        ["Weight", (row) => score(row.weight), "number"],
      ]} />`;
}

