// States without data: no key, a wrong key, an empty system, a dead gateway. Arguments: address, key, folder of pictures.
import readline from "node:readline/promises";
import { check, equal, has, launch, open, wrongLayout } from "./session.mjs";

const [origin, key, folder] = process.argv.slice(2);
const browser = await launch();
const page = await open(browser, origin, { expected: ["status of 401", "ERR_CONNECTION_REFUSED"] });
const look = async (name) => {
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
  await page.click('nav a[href="#/overview"]');
  await has(page, "No requests yet. Send one");
  await page.click('nav a[href="#/requests"]');
  await has(page, "No requests yet. Send one on the page Try.");
  await look("state-empty");
  await page.click('nav a[href="#/overview"]');
  await has(page, "No requests yet. Send one");
});

await check("the key is kept in this tab only", async () => {
  const kept = await page.evaluate(() => [document.cookie, localStorage.length, Object.values(sessionStorage)]);
  equal(kept, ["", 0, [key]], "storage");
});

console.log(JSON.stringify({ check: "stop the gateway", error: null }));
await readline.createInterface({ input: process.stdin }).question("");

await check("a dead gateway is said to be dead, and old data to be old", async () => {
  await has(page, "The gateway does not answer.");
  await has(page, "Out of date.");
  await look("state-dead");
});

await check("nothing else went wrong", () => equal(page.faults, [], "faults"));
await browser.close();
