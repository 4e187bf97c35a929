// Shell of the dashboard: navigation by the address's fragment, the state of the gateway, and the key.
import { html, render, useEffect, useRef, useState, usePoll, readKey, saveKey } from "./lib.js";
import { Badge, KeyForm, Message } from "./parts.js";
import { Overview } from "./pages/overview.js";
import { Models } from "./pages/models.js";
import { Requests } from "./pages/requests.js";
import { Try } from "./pages/try.js";
import { Evidence } from "./pages/evidence.js";
import { Keys } from "./pages/keys.js";

const PAGES = [
  ["overview", "Overview", Overview],
  ["models", "Models", Models],
  ["requests", "Requests", Requests],
  ["try", "Try", Try],
  ["evidence", "Evidence", Evidence],
  ["keys", "Keys and spend", Keys],
];

// `#/requests/<id>`: the page and what is open in it.
function usePlace() {
  const read = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const [place, setPlace] = useState(read);
  useEffect(() => {
    const change = () => setPlace(read());
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  return place;
}

function State({ health }) {
  if (health.error && health.error.status === 0) return html`<${Badge} tone="bad">No answer<//>`;
  if (!health.data) return html`<${Badge}>…<//>`;
  const { status } = health.data;
  return html`<${Badge} tone=${status === "ok" ? "good" : "warn"}>${status === "ok" ? "Up" : "Degraded"}<//>`;
}

function KeyButton() {
  const dialog = useRef(null);
  const [has, setHas] = useState(readKey() !== "");
  useEffect(() => {
    const change = () => setHas(readKey() !== "");
    addEventListener("key-changed", change);
    return () => removeEventListener("key-changed", change);
  }, []);
  const close = () => dialog.current.close();
  return html`
    <button type="button" class="small" onClick=${() => dialog.current.showModal()}>${has ? "Change key" : "Enter key"}</button>
    <dialog ref=${dialog} aria-label="API key">
      <div class="top"><h2>API key</h2><button type="button" class="small" onClick=${close}>Close</button></div>
      <${KeyForm} note="User keys see their own requests, admin keys see everything." onDone=${close} />
      ${has && html`<button type="button" class="small" onClick=${() => { saveKey(""); close(); }}>Forget the key</button>`}
    </dialog>`;
}

function App() {
  const [name, ...rest] = usePlace();
  const [id, title, Page] = PAGES.find(([known]) => known === name) || PAGES[0];
  const health = usePoll("health", 5);
  const main = useRef(null);
  const shown = useRef(id);
  useEffect(() => {
    document.title = `${title} – LLM Router`;
    if (shown.current !== id) main.current.focus();
    shown.current = id;
  }, [id]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to content</a>
    <header>
      <h1>LLM Router</h1>
      <nav aria-label="Pages"><ul>
        ${PAGES.map(([page, label]) => html`<li><a href=${`#/${page}`} aria-current=${page === id ? "page" : null}>${label}</a></li>`)}
      </ul></nav>
      <div class="end"><${State} health=${health} /><${KeyButton} /></div>
    </header>
    <main id="main" tabindex="-1" ref=${main} aria-label=${title}>
      ${health.error && health.error.status === 0 &&
      html`<${Message} kind="error" title="The gateway does not answer.">The page tries again every few seconds. What you see may be out of date.<//>`}
      <${Page} health=${health} rest=${rest} />
    </main>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
