// Requests: the latest ones, with filters; one opens in a drawer.
import { html, useState, usePoll, query, count, percent, score, usd, milliseconds, words } from "../lib.js";
import { Badge, Card, Loaded, Table } from "../parts.js";
import { Drawer, Status, When } from "../request.js";

const NONE = { arm: "", kind: "", status: "", rated: "", session: "" };
const STATUSES = ["answered", "truncated", "cancelled", "failed"];

const address = (id) => `#/requests/${encodeURIComponent(id)}`;

function Filters({ fields, change }) {
  const text = (name, label) => html`<label>${label} <input name=${name} size="14" value=${fields[name]} onChange=${(e) => change(name, e.target.value.trim())} /></label>`;
  return html`<div class="row" role="search" aria-label="Filters">
    ${text("arm", "Model")} ${text("kind", "Kind of prompt")} ${text("session", "Conversation")}
    <label>Status <select name="status" value=${fields.status} onChange=${(e) => change("status", e.target.value)}>
      <option value="">any</option>${STATUSES.map((one) => html`<option value=${one}>${one}</option>`)}</select></label>
    <label>Rated <select name="rated" value=${fields.rated} onChange=${(e) => change("rated", e.target.value)}>
      <option value="">any</option><option value="1">rated</option><option value="0">not rated</option></select></label>
  </div>`;
}

function Open() {
  const [id, setId] = useState("");
  const open = (event) => {
    event.preventDefault();
    location.hash = address(id.trim());
  };
  return html`<form class="row" onSubmit=${open}>
    <label>Open a request by its id <input name="id" required value=${id} onInput=${(e) => setId(e.target.value)} /></label>
    <button type="submit">Open</button></form>`;
}

const scores = (row) => Object.entries(row.scores).map(([source, value]) => `${source} ${score(value)}`).join(", ") || "none";

const columns = [
  ["Request", (row) => html`<a class="id" href=${address(row.id)}>${row.request_id}</a><div class="note"><${When} epoch=${row.created_at} />${row.prompt && html`<br />${row.prompt.slice(0, 120)}`}</div>`],
  ["Model", (row) => html`${row.model} ${row.status !== "answered" && html`<${Status} of=${row.status} />`}${row.attempts > 1 ? html`<div class="note">after ${row.attempts} attempts</div>` : ""}`, "model"],
  ["Scores", scores],
  ["Decided by", (row) => html`${words(row.decision.kind)} ${row.decision.explored && html`<${Badge}>explored<//>`} ${row.decision.degraded.length > 0 && html`<${Badge} tone="warn">degraded<//>`}`],
  ["Probability", (row) => percent(row.decision.propensity), "number"],
  ["Cost", (row) => usd(row.cost_usd), "number"],
  ["Model's time", (row) => milliseconds(row.latency_ms.upstream), "number"],
  ["Tokens", (row) => count(row.tokens.total), "number"],
];

export function Requests({ rest }) {
  const [fields, setFields] = useState(NONE);
  const [pages, setPages] = useState([]); // cursors of the pages before this one
  const list = usePoll(`requests${query({ ...fields, limit: 25, before: pages.at(-1) })}`, 3);
  const change = (name, value) => {
    setFields({ ...fields, [name]: value });
    setPages([]);
  };
  const close = () => {
    if (location.hash.startsWith("#/requests/")) location.hash = "#/requests";
  };
  return html`<${Card} wide title="Requests" note="The latest requests, newest first. Open one to see why its model was chosen, and to rate it.">
      <${Open} />
      <${Filters} fields=${fields} change=${change} />
      <${Loaded} of=${list} what="The list" missing="This gateway does not list requests. Open one by its id.">${(found) => html`
        <${Table} label="Latest requests" columns=${columns} rows=${found.data} keyOf=${(row) => row.id}
          empty=${Object.values(fields).some(Boolean) ? "No request matches these filters." : "No requests yet. Send one on the page Try."} />
        <div class="row">
          <button type="button" class="small" disabled=${pages.length === 0} onClick=${() => setPages(pages.slice(0, -1))}>Newer</button>
          <button type="button" class="small" disabled=${!found.next} onClick=${() => setPages([...pages, found.next])}>Older</button>
        </div>`}
      <//>
    <//>
    <${Drawer} id=${rest[0] || ""} onClose=${close} />`;
}
