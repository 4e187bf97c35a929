// Client of the JSON API, polling, and formats. Everything else of the dashboard builds on this module.
export * from "./vendor/preact-htm.js";
import { useCallback, useEffect, useRef, useState } from "./vendor/preact-htm.js";

const KEY = "llm-router-key";
const BASE = new URL(".", document.baseURI);

// -- key: in this tab's sessionStorage, never in a cookie --------------------------------------------------------------
export const readKey = () => sessionStorage.getItem(KEY) || "";
export function saveKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  dispatchEvent(new Event("key-changed"));
}

// -- requests ----------------------------------------------------------------------------------------------------------
// An error of the API, or status 0 where no answer came.
export class ApiError extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code || "";
  }
}

// Return the response of the gateway. Throws ApiError with the API's own message.
export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const key = readKey();
  const sent = { ...(key && { Authorization: `Bearer ${key}` }), ...(body && { "Content-Type": "application/json" }) };
  let response;
  try {
    response = await fetch(new URL(path, BASE), {
      method,
      body: body && JSON.stringify(body),
      headers: { ...sent, ...headers },
      credentials: "omit",
      cache: "no-store",
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The gateway does not answer.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const told = problem.error || {};
  throw new ApiError(response.status, told.message || `The gateway returned status ${response.status}.`, told.code);
}

export const getJson = async (path, options) => (await send(path, options)).json();

export const part = (name) => encodeURIComponent(name);
export const query = (fields) => {
  const given = Object.entries(fields).filter(([, value]) => value !== "" && value != null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

// Poll a path of the API while the page is visible. The last data stays while the gateway does not answer.
export function usePoll(path, seconds = 4) {
  const [result, setResult] = useState({});
  const [turn, setTurn] = useState(0);
  const last = useRef(path);
  useEffect(() => {
    if (!path) return undefined;
    if (last.current !== path) setResult({});
    last.current = path;
    const control = new AbortController();
    let timer;
    const read = async () => {
      if (!document.hidden) {
        try {
          const data = await getJson(path, { signal: control.signal });
          setResult({ data, at: Date.now() });
        } catch (error) {
          if (control.signal.aborted) return;
          const passing = error.status === 0 || error.status === 429 || error.status >= 500;
          setResult((old) => (passing ? { ...old, error } : { error }));
          if (!passing) return; // until the key or the path changes
        }
      }
      if (!control.signal.aborted) timer = setTimeout(read, seconds * 1000);
    };
    const again = () => {
      clearTimeout(timer);
      if (!document.hidden) read();
    };
    read();
    document.addEventListener("visibilitychange", again);
    addEventListener("key-changed", again);
    return () => {
      control.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", again);
      removeEventListener("key-changed", again);
    };
  }, [path, seconds, turn]);
  return { ...result, refresh: useCallback(() => setTurn((n) => n + 1), []) };
}

// -- formats: with units, in the reader's language and time zone ---------------------------------------------------------
// Some systems name a language that is none, such as `en-US@posix`; Intl throws on it.
function languages() {
  try {
    return Intl.getCanonicalLocales(navigator.languages);
  } catch {
    return "en";
  }
}

const UNKNOWN = "unknown";
const plain = new Intl.NumberFormat(languages(), { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(languages(), { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(languages(), { dateStyle: "medium", timeStyle: "medium" });
const hours = new Intl.DateTimeFormat(languages(), { timeStyle: "medium" });
const minutes = new Intl.DateTimeFormat(languages(), { hour: "numeric", minute: "2-digit" });
const days = new Intl.DateTimeFormat(languages(), { month: "short", day: "numeric" });
const tenths = new Intl.NumberFormat(languages(), { maximumFractionDigits: 1 });

const known = (format) => (value, ...rest) => (value == null || Number.isNaN(value) ? UNKNOWN : format(value, ...rest));

// Counts that are weighted by age need not be whole: small ones show a tenth.
export const count = known((value) => (value < 10 ? tenths : plain).format(value));
export const score = known((value) => value.toFixed(2));
export const percent = known((value) => `${value > 0 && value < 0.001 ? "<0.1" : short.format(value * 100)} %`);
export const usd = known((value) => (value === 0 ? "$0" : `${value < 0 ? "−" : ""}$${short.format(Math.abs(value))}`));
export const perMillion = known((value) => usd(Number(value) * 1e6));
export const seconds = known((value) => (value < 1 ? `${short.format(value * 1000)} ms` : `${short.format(value)} s`));
export const milliseconds = known((value) => seconds(value / 1000));
export const signed = known((value) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(3)}`);
export const time = known((epoch) => clock.format(epoch * 1000));
export const tickTimes = (epochs) => epochs.map((epoch) => (epochs[1] - epochs[0] < 86400 ? minutes : days).format(epoch * 1000));
export const shortTime = (epoch) => (new Date(epoch * 1000).toDateString() === new Date().toDateString() ? hours.format(epoch * 1000) : time(epoch));
export const iso = (epoch) => new Date(epoch * 1000).toISOString();
export const words = (name) => String(name).replaceAll("_", " ");
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
