// Chromium for the tests: pages that collect what went wrong in them, and the checks' report, one JSON line each.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const AXE = fs.readFileSync(path.join(HERE, "node_modules/axe-core/axe.min.js"), "utf8");
// Of the package's arguments for small machines: those that would switch off what is tested here.
const UNSAFE = /single-process|disable-web-security|site-isolation|allow-running-insecure/;

export const WIDE = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844, isMobile: true, hasTouch: true };

export const launch = async () =>
  puppeteer.launch({
    executablePath: await chromium.executablePath(),
    args: [...chromium.args.filter((one) => !UNSAFE.test(one)), "--no-sandbox"],
    headless: "shell",
    env: { ...process.env, LANG: "en_US.UTF-8", LC_ALL: "en_US.UTF-8" },
  });

// Open a page under `origin`. `expected`: texts of console errors that the test provokes.
export async function open(browser, origin, { viewport = WIDE, theme = "light", expected = [] } = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  page.faults = [];
  const fault = (text) => expected.some((one) => text.includes(one)) || page.faults.push(text);
  page.on("console", (message) => message.type() === "error" && fault(`console: ${message.text()} ${message.location().url || ""}`));
  page.on("pageerror", (error) => fault(`error: ${error.message}`));
  page.on("request", (request) => new URL(request.url()).origin !== origin && fault(`request to another host: ${request.url()}`));
  await page.evaluateOnNewDocument(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.setViewport(viewport);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
  return page;
}

export const text = (page, selector) => page.$eval(selector, (node) => node.innerText);
export const has = (page, wanted) =>
  page.waitForFunction((one) => document.body.innerText.includes(one), {}, wanted).catch(() => {
    throw new Error(`the page does not say: ${wanted}`);
  });

// Wait until everything on the page has been read.
export const settled = (page) => page.waitForFunction(() => !document.body.innerText.includes("Loading …"));

export function equal(actual, wanted, what) {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`);
}

// What axe-core finds that is serious, and whether the page is wider than the window.
export async function wrongLayout(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
    return serious.map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 200)}`);
  });
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  return over > 0 ? [...found, `wider than the window by ${over}`] : found;
}

export async function check(name, run) {
  try {
    const value = await run();
    console.log(JSON.stringify({ check: name, error: null, value: value ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ check: name, error: String(error.stack || error) }));
  }
}
