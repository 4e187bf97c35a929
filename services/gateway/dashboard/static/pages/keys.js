// Keys and spend, and the settings in effect: for admins.
import { html, useState, usePoll } from "../lib.js";
import { Badge, Card, Loaded, Table } from "../parts.js";

const SOURCES = { default: "default", config_file: "CONFIG_FILE", dotenv: ".env", environment: "environment" };

function SettingsTable({ list }) {
  const [all, setAll] = useState(false);
  const rows = all ? list : list.filter((one) => one.source !== "default");
  return html`
    <label class="check"><input type="checkbox" checked=${all} onChange=${(e) => setAll(e.target.checked)} /> Show those with their default, too</label>
    <${Table} label="Settings in effect" rows=${rows} keyOf=${(one) => one.name} empty="All settings have their default."
      columns=${[
        ["Setting", (one) => html`<span class="id">${one.name}</span><div class="note">${one.description}</div>`],
        ["Value", (one) => html`<span class="id">${one.value === "" ? "empty" : one.value}</span>`],
        ["Set by", (one) => html`<${Badge}>${SOURCES[one.source] || one.source}<//>`],
      ]} />`;
}

export function Keys() {
  const settings = usePoll("settings", 60);
  const spend = usePoll("spend?days=7", 30);
  return html`
    <${Card} wide title="Spend by key">
      <${Loaded} of=${spend} what="Spend" missing="This gateway does not keep spend by key. Each request's cost is on the page Requests.">${() => null}<//>
    <//>
    <${Card} wide title="Settings in effect" note="Secrets are masked. Settings are changed in the environment, in .env or in CONFIG_FILE.">
      <${Loaded} of=${settings} what="Settings" missing="This gateway does not show its settings.">${(found) => html`<${SettingsTable} list=${found.data} />`}<//>
    <//>`;
}
