// Parts that pages share: cards, tables, states, and drawings of intervals.
import { html, saveKey, readKey, useState, score, percent } from "./lib.js";

export const Card = ({ title, note, children, wide }) => html`
  <section class=${wide ? "card wide" : "card"} data-card=${title}>
    <h2>${title}</h2>
    ${note && html`<p class="note">${note}</p>`}
    ${children}
  </section>`;

export const Figure = ({ label, value, note, tone }) => html`
  <div class="figure"><dt>${label}</dt><dd class=${tone || ""} data-figure=${label}>${value}</dd>${note && html`<dd class="note">${note}</dd>`}</div>`;

export const Figures = ({ children }) => html`<dl class="figures">${children}</dl>`;

export const Scroll = ({ label, children }) =>
  html`<div class="scroll" role="region" tabindex="0" aria-label=${label}>${children}</div>`;

// columns: [name, render(row), class]. The first one is the row's header.
export const Table = ({ label, columns, rows, keyOf, empty }) =>
  rows.length === 0
    ? html`<p class="empty">${empty || "Nothing yet."}</p>`
    : html`<${Scroll} label=${label}>
        <table>
          <caption class="hidden">${label}</caption>
          <thead><tr>${columns.map(([name, , kind]) => html`<th scope="col" class=${kind || ""}>${name}</th>`)}</tr></thead>
          <tbody>
            ${rows.map(
              (row, number) => html`<tr key=${keyOf ? keyOf(row) : number}>
                ${columns.map(([, render, kind], column) =>
                  column === 0
                    ? html`<th scope="row" class=${kind || ""}>${render(row)}</th>`
                    : html`<td class=${kind || ""}>${render(row)}</td>`,
                )}
              </tr>`,
            )}
          </tbody>
        </table>
      <//>`;

export const Message = ({ kind = "info", title, children }) => html`
  <div class=${`message ${kind}`} role=${kind === "error" ? "alert" : "status"}>
    ${title && html`<strong>${title}</strong>`} <span>${children}</span>
  </div>`;

export function KeyForm({ note, onDone }) {
  const [key, setKey] = useState("");
  const submit = (event) => {
    event.preventDefault();
    saveKey(key.trim());
    setKey("");
    if (onDone) onDone();
  };
  return html`
    <form class="key" onSubmit=${submit}>
      ${note && html`<p>${note}</p>`}
      <label>API key <input type="password" autocomplete="off" required value=${key} onInput=${(e) => setKey(e.target.value)} /></label>
      <button type="submit">Use this key</button>
      <p class="note">It stays in this tab until you close it, and is sent only to this gateway.</p>
    </form>`;
}

// A poll's state: its data, or in words why there is none. `missing` is shown where the gateway lacks the endpoint.
export function Loaded({ of, missing, what = "This page", children }) {
  const { data, error } = of;
  if (data === undefined && error === undefined) return html`<p class="empty" role="status">Loading …</p>`;
  if (error && error.status === 401) {
    return html`<${Message} kind="warning" title=${readKey() ? "This key is not known to the gateway." : "The gateway asks for a key."}>
      <${KeyForm} />
    <//>`;
  }
  if (error && error.status === 403) {
    return html`<${Message} kind="warning" title="Not allowed.">${error.message}<//>`;
  }
  if (error && error.status === 404 && missing) return html`<p class="empty">${missing}</p>`;
  if (data === undefined) {
    return html`<${Message} kind="error" title=${`${what} cannot be shown.`}>${error.message} Trying again every few seconds.<//>`;
  }
  return html`${error && html`<${Message} kind="error" title="Out of date.">${error.message} What you see was read earlier. Trying again.<//>`}
    ${children(data)}`;
}

const clamp = (value) => Math.min(1, Math.max(0, value));

// A belief on a scale from 0 to 1: the 95 % interval as a band, the mean as a line, and one more mark, if any.
export const Belief = ({ low, mean, high, mark, label, tone = "" }) => {
  const [a, b, m] = [low, high, mean].map((value) => clamp(value) * 100);
  return html`
    <svg class=${`belief ${tone}`} viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${label || `${score(mean)}, 95 % between ${score(low)} and ${score(high)}`}>
      <rect class="scale" x="0" y="4.5" width="100" height="1" />
      <rect class="band" x=${a} y="1.5" width=${Math.max(b - a, 0.6)} height="7" />
      <rect class="mean" x=${Math.max(m - 0.5, 0)} y="0" width="1" height="10" />
      ${mark != null && html`<rect class="mark" x=${Math.max(clamp(mark) * 100 - 0.4, 0)} y="0" width="0.8" height="10" />`}
    </svg>`;
};

// A share as a bar with its number.
export const Share = ({ value }) => html`
  <span class="share"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
    <rect class="scale" x="0" y="0" width="100" height="10" /><rect class="band" x="0" y="0" width=${clamp(value || 0) * 100} height="10" />
  </svg><span>${percent(value)}</span></span>`;

export const Badge = ({ tone = "", children }) => html`<span class=${`badge ${tone}`}>${children}</span>`;

// A button that asks once more before it acts.
export function Confirm({ label, question, onYes, disabled }) {
  const [asked, setAsked] = useState(false);
  if (!asked) return html`<button type="button" class="small" disabled=${disabled} onClick=${() => setAsked(true)}>${label}</button>`;
  return html`<span role="group" aria-label=${question}>${question} <button type="button" class="small danger" onClick=${() => { setAsked(false); onYes(); }}>Yes</button> <button type="button" class="small" onClick=${() => setAsked(false)}>No</button></span>`;
}
