// Picture of the dashboard for the documentation. Arguments: address of the page, file of the picture.
import { has, launch, open, settled } from "./session.mjs";

const [address, picture] = process.argv.slice(2);
const browser = await launch();
const page = await open(browser, new URL(address).origin, { viewport: { width: 1280, height: 1000 } });
await page.goto(`${address}#/models`, { waitUntil: "load" });
await has(page, "Best with probability");
await settled(page);
await page.screenshot({ path: picture });
await browser.close();
