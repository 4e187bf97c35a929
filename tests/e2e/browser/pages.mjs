// Every page on a stack with traffic. Arguments: address, folder of the pictures, id of an answered request.
import { PHONE, WIDE, check, equal, has, launch, open, settled, text, wrongLayout } from "./session.mjs";

const [origin, folder, requestId] = process.argv.slice(2);
const LOOKS = [["wide-light", WIDE, "light"], ["wide-dark", WIDE, "dark"], ["phone-light", PHONE, "light"], ["phone-dark", PHONE, "dark"]];
// Each page, and a text that it shows once its data is there.
const PAGES = [
  ["overview", "Everything works."],
  ["models", "Best with probability"],
  ["requests", "Newer"],
  [`requests/${requestId}`, "What would have changed it"],
  ["try", "Probability of the choice"],
  ["evidence", "Difference from users"],
  ["keys", "Settings in effect"],
];

const api = async (path, options) => (await fetch(origin + path, options)).json();
const score = (value) => value.toFixed(2);
const browser = await launch();
const go = (page, name) => page.goto(`${origin}/ui#/${name}`, { waitUntil: "load" });

// One page object for all looks: each navigation by its address's fragment is what a user's click does.
for (const [look, viewport, theme] of LOOKS) {
  const page = await open(browser, origin, { viewport, theme });
  for (const [name, ready] of PAGES) {
    await check(`${name.split("/").length > 1 ? "request" : name} ${look}`, async () => {
      await go(page, name);
      await has(page, ready);
      await settled(page);
      const drawer = name.includes("/");
      if (drawer) await page.setViewport({ ...viewport, height: 2000 }); // a drawer is as high as the window
      await page.screenshot({ path: `${folder}/${drawer ? "request" : name}-${look}.png`, fullPage: !drawer });
      if (drawer) await page.setViewport(viewport);
      equal(await wrongLayout(page), [], "layout and accessibility");
    });
  }
  await check(`nothing went wrong ${look}`, () => equal(page.faults, [], "faults"));
  await page.close();
}

const page = await open(browser, origin, { expected: ["status of 403"] });

await check("overview equals the API", async () => {
  await go(page, "overview");
  await has(page, "Everything works.");
  await page.waitForSelector('[data-figure="Requests"]');
  const { data } = await api("/arms");
  const sum = Math.round(data.reduce((total, arm) => total + arm.requests, 0));
  equal(await text(page, '[data-figure="Requests"]'), String(sum), "requests");
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  return { first_paint_ms: Math.round(paint) };
});

await check("traffic equals the API, and is drawn", async () => {
  await page.waitForSelector('[data-figure="Requests in this time"]');
  await page.waitForSelector(".chart canvas");
  const { total, arms, expected } = await api("/stats?minutes=60&step=2");
  equal(await text(page, '[data-figure="Requests in this time"]'), String(total.requests), "requests");
  equal(await text(page, '[data-figure="Mean rating"]'), score(total.scores.user.mean), "rating");
  const names = await page.$$eval("figure:first-of-type .legend li", (items) => items.map((item) => item.innerText.trim()));
  equal(names, Object.keys(arms).sort(), "models in the chart");
  await has(page, `always ${expected.best_fixed}`);
  await page.click('.row[aria-label="Time"] button:nth-of-type(2)');
  await page.waitForResponse((one) => one.url().includes("/stats?minutes=1440&step=30") && one.ok());
});

await check("spending equals the API, and is saved as CSV", async () => {
  await go(page, "keys");
  await has(page, "Save as CSV");
  const { data } = await api("/spend?days=7");
  const requests = data.reduce((sum, row) => sum + row.requests, 0);
  equal(await text(page, '[data-figure="Requests of all keys"]'), String(requests), "requests");
  await page.evaluate(() => {
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => {
      window.saved = blob.text();
      return make(blob);
    };
  });
  await page.$$eval("button", (all) => all.find((one) => one.innerText === "Save as CSV").click());
  await page.waitForFunction(() => window.saved);
  const wanted = await (await fetch(`${origin}/spend?days=7`, { headers: { Accept: "text/csv" } })).text();
  equal(await page.evaluate(() => window.saved), wanted, "file");
});

await check("models equal the API", async () => {
  await go(page, "models");
  await has(page, "Best with probability");
  const { data, kinds } = await api("/arms?kinds=1");
  const shown = await page.$$eval('[data-card="Models"] tbody tr', (rows) => rows.map((row) => row.innerText.replace(/\s+/g, " ")));
  equal(shown.length, data.length, "rows");
  for (const arm of data) {
    const row = shown.find((one) => one.includes(arm.arm));
    const wanted = `${score(arm.quality)} (${score(arm.quality_low)} to ${score(arm.quality_high)})`;
    if (!row || !row.includes(wanted)) throw new Error(`${arm.arm}: ${wanted} is not in ${row}`);
  }
  equal((await page.$$('[data-card="Kinds of prompt"] tbody tr')).length, kinds.length, "kinds");
});

await check("the belief over time equals the API, and is drawn", async () => {
  await page.waitForSelector('[data-card="Belief over time"] .chart canvas');
  await page.click('[data-card="Belief over time"] summary');
  const cells = (selector) => page.$$eval(`[data-card="Belief over time"] ${selector}`, (all) => all.map((one) => one.innerText.trim()));
  const { data } = await api("/posteriors?minutes=60&step=2");
  const { arms } = data.filter((step) => Object.keys(step.arms).length > 0).at(-1);
  const names = Object.keys(arms).sort();
  equal(await cells(".legend li"), names, "models in the chart");
  equal(await cells("tbody tr:last-of-type td"), names.map((name) => score(arms[name].quality)), "latest qualities");
});

await check("a change of the models shows the API's own error", async () => {
  const row = await page.waitForSelector('[data-card="Models"] tbody tr');
  await (await row.$("button")).click();
  await (await row.waitForSelector("button.danger")).click();
  await has(page, "A web page may change this with an admin key only: set ADMIN_API_KEYS.");
});

await check("a request opens from the list, can be rated, and closes by Escape", async () => {
  await go(page, "requests");
  await page.waitForSelector(`a[href$="${(await api(`/requests/${requestId}`)).id}"]`);
  await page.click(`a[href$="${(await api(`/requests/${requestId}`)).id}"]`);
  const record = await api(`/requests/${requestId}`);
  await has(page, record.decision.reason);
  await page.$eval('dialog.drawer input[name="score"]', (input) => {
    input.value = "0.35";
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await page.click("dialog.drawer form button.main");
  await has(page, "Rated 0.35.");
  equal((await api(`/requests/${requestId}`)).feedback.score, 0.35, "score");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => location.hash === "#/requests" && !document.querySelector("dialog[open]"));
});

await check("filters ask the API", async () => {
  await page.select('select[name="status"]', "failed");
  const wanted = (await api("/requests?status=failed&limit=25")).data.map((one) => one.request_id);
  await page.waitForFunction((count) => document.querySelectorAll('[data-card="Requests"] tbody tr').length === count, {}, wanted.length);
});

await check("terms change the decision, and a request is sent for real", async () => {
  await go(page, "try");
  await has(page, "Probability of the choice");
  const sent = page.waitForRequest((one) => one.url().endsWith("/route") && one.postData().includes('"cost":-1'));
  await page.click('input[name="own"]');
  await page.$eval('input[name="cost"]', (input) => {
    input.value = "-1";
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  equal(JSON.parse((await sent).postData()).router.weights, { quality: 0.6, latency: 0.2, cost: -1 }, "weights");
  await page.$$eval("button.main", (all) => all[0].click());
  await has(page, "Open its story and rate it");
  await page.waitForFunction(() => (document.querySelector('pre[aria-label="Answer"]')?.innerText.length || 0) > 10);
});

await check("the keyboard reaches everything from the top", async () => {
  await go(page, "overview");
  await page.reload({ waitUntil: "load" });
  await has(page, "Everything works.");
  const names = [];
  for (let step = 0; step < 8; step += 1) {
    await page.keyboard.press("Tab");
    names.push(await page.evaluate(() => document.activeElement.innerText));
  }
  equal(names, ["Skip to content", "Overview", "Models", "Requests", "Try", "Evidence", "Keys and spend", "Enter key"], "order");
});

await check("a hidden page does not poll", async () => {
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await new Promise((done) => setTimeout(done, 1500)); // what was under way ends
  let polls = 0;
  page.on("request", () => (polls += 1));
  await new Promise((done) => setTimeout(done, 6000));
  equal(polls, 0, "requests");
});

await check("nothing went wrong", () => equal(page.faults, [], "faults"));
await page.close();

await check("a model's name with markup stays text", async () => {
  const hostile = await open(browser, origin);
  const name = '<script>window.hacked=1</script><img src="x" onerror="window.hacked=1">';
  const list = await api("/arms?kinds=1");
  await hostile.setRequestInterception(true);
  hostile.on("request", (request) => {
    if (!new URL(request.url()).pathname.endsWith("/arms")) return request.continue();
    list.data[0].arm = name;
    return request.respond({ status: 200, contentType: "application/json", body: JSON.stringify(list) });
  });
  await go(hostile, "models");
  await has(hostile, name);
  equal(await hostile.evaluate(() => window.hacked === undefined && document.images.length === 0), true, "it was not run");
  equal(hostile.faults, [], "faults");
});

await browser.close();
