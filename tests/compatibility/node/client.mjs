// The official OpenAI client for Node against a gateway: one JSON line a feature. Arguments: base URL, key.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const asked = (feature, content) => [{ role: "user", content: content ?? `node ${feature}` }];
const create = (feature, more = {}) =>
  client.chat.completions.create({ model: "auto", messages: asked(feature), ...more });
const check = (holds, what) => {
  if (!holds) throw new Error(what);
};
const tools = [
  {
    type: "function",
    function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
  },
];
const schema = {
  type: "json_schema",
  json_schema: { name: "answer", schema: { type: "object", properties: { answer: { type: "string" } } } },
};
const raises = async (kind, code, call) => {
  try {
    await call();
  } catch (error) {
    check(error instanceof kind, `${error?.constructor?.name} instead of ${kind.name}`);
    check(error.code === code, `${error.code} instead of ${code}`);
    return;
  }
  throw new Error(`no ${kind.name}`);
};
const collect = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};

const features = {
  chat: async () => {
    const { data, response } = await create("chat").withResponse();
    check(data.choices[0].message.content, "no text");
    check(data.model === response.headers.get("x-router-model"), "another model");
    check(response.headers.get("x-request-id"), "no id");
  },
  stream: async () => {
    const chunks = await collect(await create("stream", { stream: true }));
    check(chunks.length > 3 && chunks.map((c) => c.choices[0].delta.content ?? "").join(""), "no text");
    check(chunks.every((c) => !c.usage), "usage that nobody asked for");
  },
  usage: async () => {
    const chunks = await collect(await create("usage", { stream: true, stream_options: { include_usage: true } }));
    check(chunks.at(-1).usage.total_tokens > 0, "no usage at the end");
  },
  tools: async () => {
    const { message } = (await create("tools", { tools })).choices[0];
    check(message.tool_calls[0].function.name === "weather", "no call");
    const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "sunny" };
    const answer = await create("tools", { tools, messages: [...asked("tools"), message, result] });
    check(answer.choices[0].message.content, "no answer to the result");
    const chunks = await collect(await create("tools", { tools, stream: true }));
    const calls = chunks.flatMap((c) => c.choices[0]?.delta.tool_calls ?? []);
    check(calls.some((call) => call.function?.name === "weather"), "no streamed call");
  },
  structured: async () => {
    const answer = await create("structured", { response_format: schema });
    check("answer" in JSON.parse(answer.choices[0].message.content), "not in the schema");
  },
  image: async () => {
    const url = "data:image/png;base64,iVBORw0KGgo=";
    const content = [{ type: "text", text: "node image" }, { type: "image_url", image_url: { url } }];
    check((await create("image", { messages: asked("image", content) })).choices[0].message.content, "no text");
  },
  n: async () => check((await create("n", { n: 2 })).choices.length === 2, "not two choices"),
  stop: async () => {
    const answer = await create("stop", { stop: ["simulated answer"] });
    check(!answer.choices[0].message.content.includes("simulated answer"), "not stopped");
  },
  logprobs: async () => {
    const answer = await create("logprobs", { logprobs: true, top_logprobs: 2 });
    check(answer.choices[0].logprobs.content[0].logprob < 0, "no logprobs");
  },
  unknown: async () => check((await create("unknown", { some_new_field: { a: 1 } })).id, "no answer"),
  models: async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    check(ids[0] === "auto" && ids.length > 2, "no list");
    check((await client.models.retrieve(ids[1])).id === ids[1], "not found again");
  },
  errors: async () => {
    const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
    const messages = asked("errors");
    const all = (fault) => ({ headers: { "x-simulate": fault } });
    const ask = (more, options) => client.chat.completions.create({ model: "auto", messages, ...more }, options);
    await raises(OpenAI.AuthenticationError, "invalid_api_key", () => stranger.models.list());
    await raises(OpenAI.BadRequestError, "invalid_type", () => ask({ temperature: "hot" }));
    await raises(OpenAI.NotFoundError, "model_not_found", () => ask({ model: "x/none" }));
    await raises(OpenAI.RateLimitError, "upstream_rate_limited", () => ask({}, all("status-429")));
    await raises(OpenAI.InternalServerError, "upstream_error", () => ask({}, all("status-500")));
    const named = { headers: { "X-Request-ID": `node-${Date.now()}` } };
    await ask({}, named);
    await raises(OpenAI.ConflictError, "duplicate_request_id", () => ask({}, named));
  },
  cut: async () => {
    const options = { headers: { "x-simulate": "cut" } };
    const stream = await client.chat.completions.create(
      { model: "auto", messages: asked("cut"), stream: true }, options);
    await raises(OpenAI.APIError, "upstream_cut", () => collect(stream));
  },
};

for (const [feature, run] of Object.entries(features)) {
  let error = null;
  try {
    await run();
  } catch (caught) {
    error = `${caught?.constructor?.name}: ${caught?.message}`;
  }
  console.log(JSON.stringify({ feature, error }));
}
