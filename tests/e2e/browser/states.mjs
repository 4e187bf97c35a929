// States without data: no key, a wrong key, an empty system, a dead gateway. Arguments: address, key, folder of pictures.
import readline from "node:readline/promises";
import { check, equal, has, launch, open, settled, wrongLayout } from "./session.mjs";

const [origin, key, folder] = process.argv.slice(2);
const browser = await launch();
const page = await open(browser, origin, { expected: ["status of 401", "ERR_CONNECTION_", "ERR_EMPTY_RESPONSE"] });
const answers = readline.createInterface({ input: process.stdin });
// Let the test change something outside, and go on when it has.
const outside = async (what) => {
  console.log(JSON.stringify({ check: what, error: null }));
  await answers.question("");
};
const api = async (path) => (await fetch(origin + path, { headers: { Authorization: `Bearer ${key}` } })).json();
const visit = (name) => page.$eval(`nav a[href="#/${name}"]`, (link) => link.click());
const press = (card, label) =>
  page.waitForFunction((one, name) => {
    const found = [...document.querySelectorAll(`[data-card="${one}"] button`)].find((button) => button.innerText === name);
    if (found) found.click();
    return found !== undefined;
  }, {}, card, label);
const look = async (name) => {
  await settled(page);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  equal(await wrongLayout(page), [], "layout and accessibility");
};
const enter = async (text) => {
  await page.type('main form.key input[type="password"]', text);
  await page.keyboard.press("Enter");
};

await check("without a key the page asks for one", async () => {
  await page.goto(`${origin}/ui#/models`, { waitUntil: "load" });
  await has(page, "The gateway asks for a key.");
  await look("state-no-key");
});

await check("a wrong key is said to be unknown", async () => {
  await enter("not-the-key");
  await has(page, "This key is not known to the gateway.");
  await look("state-wrong-key");
});

await check("an empty system says so, and what to do", async () => {
  await enter(key);
  await has(page, "No kinds of prompt are known yet");
  await visit("overview");
  await has(page, "No requests yet. Send one");
  await visit("requests");
  await has(page, "No requests yet. Send one on the page Try.");
  await look("state-empty");
  await visit("overview");
  await has(page, "No requests yet. Send one");
});

await check("the key is kept in this tab only", async () => {
  const kept = await page.evaluate(() => [document.cookie, localStorage.length, Object.values(sessionStorage)]);
  equal(kept, ["", 0, [key]], "storage");
});

await check("an admin pauses a model, and lets it go on", async () => {
  await visit("models");
  await page.waitForSelector('[data-card="Models"] tbody tr');
  await press("Models", "Pause");
  await press("Models", "Yes");
  await has(page, "gets no more requests");
  const { removed } = await api("/arms");
  equal(removed.length, 1, "paused models");
  await has(page, "Paused");
  await press("Models", "Resume");
  await has(page, `${removed[0]} gets requests.`);
  equal((await api("/arms")).removed, [], "paused models");
});

await outside("bury an event");

await check("an admin puts a dead letter back", async () => {
  await visit("evidence");
  await has(page, "the test has buried it");
  await look("state-dead-letter");
  await press("Events to learn", "Requeue all");
  await press("Events to learn", "Yes");
  await has(page, "1 events were put back");
  equal((await api("/dead-letters")).total, 0, "dead letters");
  await visit("overview");
  await has(page, "No requests yet. Send one");
});

await outside("stop the gateway");

await check("a dead gateway is said to be dead, and old data to be old", async () => {
  await has(page, "The page tries again every few seconds.");
  await has(page, "Out of date.");
  await look("state-dead");
});

await check("nothing else went wrong", () => equal(page.faults, [], "faults"));
answers.close();
await browser.close();
