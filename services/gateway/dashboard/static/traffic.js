// Traffic over time: figures of the last hour or day, and charts of them.
import { html, usePoll } from "./lib.js";
import { Card, Loaded } from "./parts.js";

export function Traffic() {
  const stats = usePoll("stats?minutes=60", 5);
  return html`<${Card} wide title="Traffic over time">
    <${Loaded} of=${stats} what="Traffic over time" missing="This gateway does not keep figures over time.">${() => null}<//>
  <//>`;
}
