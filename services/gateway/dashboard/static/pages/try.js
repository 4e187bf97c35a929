// Try: how a prompt and its terms change the choice; the request is sent for real only if asked.
import { html, send, useEffect, useMemo, useRef, useState, usePoll, score, usd, seconds, words } from "../lib.js";
import { Card, Figure, Figures, KeyForm, Message, Share, Table } from "../parts.js";
import { Decision } from "../decision.js";

const CAPABILITIES = ["tools", "structured_outputs", "response_format", "image", "reasoning"];
const WAIT_MS = 300;

function bodyOf({ prompt, policy, quality, latency, cost, own, require, ceiling }) {
  const router = {
    ...(own && { weights: { quality: Number(quality), latency: Number(latency), cost: Number(cost) } }),
    ...(require.length > 0 && { require }),
    ...(ceiling && { max_cost_usd: Number(ceiling) }),
  };
  return { model: policy, messages: [{ role: "user", content: prompt }], ...(Object.keys(router).length > 0 && { router }) };
}

// The decision for what is typed now; the last one stays while the next is on its way.
function useDecision(body) {
  const [state, setState] = useState({});
  useEffect(() => {
    if (!body.messages[0].content.trim()) {
      setState({});
      return undefined;
    }
    const control = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const response = await send("route", { method: "POST", body, signal: control.signal });
        setState({ decision: await response.json() });
      } catch (error) {
        if (!control.signal.aborted) setState({ error });
      }
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      control.abort();
    };
  }, [JSON.stringify(body)]);
  return state;
}

// Read a stream of server-sent events; `onText` gets what the model has said so far.
async function readStream(response, onText) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    const lines = waiting.split("\n");
    waiting = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:") || line.includes("[DONE]")) continue;
      const event = JSON.parse(line.slice(5));
      if (event.error) throw new Error(event.error.message);
      text += event.choices?.[0]?.delta?.content || "";
      onText(text);
    }
  }
}

function Send({ body }) {
  const [state, setState] = useState({});
  const control = useRef(null);
  useEffect(() => () => control.current && control.current.abort(), []);
  const ask = async () => {
    control.current = new AbortController();
    setState({ busy: true, text: "" });
    try {
      const response = await send("v1/chat/completions", { method: "POST", body: { ...body, stream: true }, signal: control.current.signal });
      const about = { model: response.headers.get("x-router-model"), id: response.headers.get("x-request-id") };
      setState({ busy: true, text: "", ...about });
      await readStream(response, (text) => setState({ busy: true, text, ...about }));
      setState((old) => ({ ...old, busy: false }));
    } catch (error) {
      setState((old) => ({ ...old, busy: false, error: error.name === "AbortError" ? "Stopped." : error.message }));
    }
  };
  return html`
    <div class="row">
      <button type="button" class="main" disabled=${state.busy || !body.messages[0].content.trim()} onClick=${ask}>Send it for real</button>
      ${state.busy && html`<button type="button" onClick=${() => control.current.abort()}>Stop</button>`}
    </div>
    <p class="note">This calls a model, may cost money, and is recorded and learned from like any request.</p>
    ${state.error && html`<${Message} kind="error">${state.error}<//>`}
    ${state.model && html`<p>Answer of <strong>${state.model}</strong>. <a href=${`#/requests/${encodeURIComponent(state.id)}`}>Open its story and rate it</a></p>`}
    ${state.text && html`<pre aria-live="polite" aria-busy=${state.busy ? "true" : "false"} tabindex="0" aria-label="Answer">${state.text}</pre>`}`;
}

function Slider({ name, label, fields, change, min = 0, max = 1 }) {
  return html`<label>${label}: <output>${score(Number(fields[name]))}</output>
    <input type="range" name=${name} min=${min} max=${max} step="0.05" value=${fields[name]} onInput=${(e) => change({ [name]: e.target.value, own: true })} /></label>`;
}

function Form({ fields, change, policies }) {
  const toggle = (name) => change({ require: fields.require.includes(name) ? fields.require.filter((one) => one !== name) : [...fields.require, name] });
  return html`
    <label>Prompt <textarea name="prompt" value=${fields.prompt} onInput=${(e) => change({ prompt: e.target.value })}></textarea></label>
    <label>Model or policy <select name="policy" value=${fields.policy} onChange=${(e) => change({ policy: e.target.value })}>
      ${policies.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
    <fieldset><legend>What counts</legend>
      <label class="check"><input type="checkbox" name="own" checked=${fields.own} onChange=${(e) => change({ own: e.target.checked })} /> Use these weights, not the policy's</label>
      <${Slider} name="quality" label="Quality" fields=${fields} change=${change} />
      <${Slider} name="latency" label="Speed" fields=${fields} change=${change} />
      <${Slider} name="cost" label="Cost (further left: cheaper is better)" fields=${fields} change=${change} min=${-1} max=${0} />
    </fieldset>
    <fieldset><legend>Required capabilities</legend>
      ${CAPABILITIES.map((name) => html`<label class="check"><input type="checkbox" checked=${fields.require.includes(name)} onChange=${() => toggle(name)} /> ${words(name)}</label>`)}
    </fieldset>
    <label>Most that the answer may be expected to cost, in USD <input name="ceiling" type="number" min="0" step="any" value=${fields.ceiling} onInput=${(e) => change({ ceiling: e.target.value })} /></label>`;
}

function Choice({ found }) {
  const { decision } = found;
  return html`
    <${Figures}>
      <${Figure} label="Choice" value=${found.model} />
      <${Figure} label="Expected cost" value=${usd(found.expected_cost_usd)} />
      <${Figure} label="Expected time" value=${seconds(found.expected_latency_s)} />
    <//>
    <${Table} label="Probability of each model" rows=${[...decision.arms].sort((a, b) => b.propensity - a.propensity)} keyOf=${(arm) => arm.arm} empty="The model was named by the request."
      columns=${[
        ["Model", (arm) => arm.arm, "model"],
        ["Probability of the choice", (arm) => html`<${Share} value=${arm.propensity} />`, "drawn"],
        ["Expected cost", (arm) => usd(arm.cost_usd), "number"],
        ["Expected quality", (arm) => score(arm.quality), "number"],
      ]} />
    <details><summary>Everything about this decision</summary><${Decision} decision=${decision} /></details>`;
}

export function Try() {
  const [fields, setFields] = useState({ prompt: "Why is the sky blue?", policy: "auto", own: false, quality: 0.6, latency: 0.2, cost: -0.2, require: [], ceiling: "" });
  const models = usePoll("models", 60);
  const body = useMemo(() => bodyOf(fields), [fields]);
  const { decision, error } = useDecision(body);
  const policies = models.data ? models.data.data.map((model) => model.id) : ["auto"];
  const change = (values) => setFields((old) => ({ ...old, ...values }));
  return html`
    <${Card} title="Request"><${Form} fields=${fields} change=${change} policies=${policies} /><${Send} body=${body} /><//>
    <${Card} title="Decision" note="A dry run: no model is called and nothing is recorded. The choice is drawn anew each time; the probabilities are exact.">
      ${error && (error.status === 401 ? html`<${Message} kind="warning" title=${error.message}><${KeyForm} /><//>` : html`<${Message} kind="error">${error.message}<//>`)}
      ${decision ? html`<${Choice} found=${decision} />` : !error && html`<p class="empty">Type a prompt to see which model it would go to.</p>`}
    <//>`;
}
