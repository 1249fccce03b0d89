// A browser for tests: one JSON command a line on standard input, one JSON answer a line on standard output.
//
//   node browser.mjs FOLDER_OF_NODE_MODULES
//
// {"id":1,"op":"goto","url":"http://..."}. What each command takes stands with it below; the answer is {"id":1,"value":...} or
// {"id":1,"error":"..."}. What the browser's console says, and requests that fail, are told by {"op":"console"}.
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(process.argv[2] + "/");
const puppeteer = require("puppeteer-core");
const axe = require("axe-core").source;
const LONG = 60_000;

const browser = await puppeteer.launch({
  // So that it ends with this program, however that ends.
  pipe: true,
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});
const page = await browser.newPage();
page.setDefaultTimeout(LONG);
const heard = [];
let loaded = 0;
let cover = null;
page.on("console", (message) => { if (message.type() !== "log") heard.push(`${message.type()}: ${message.text()}`); });
page.on("pageerror", (error) => heard.push(`error: ${error.message}`));
page.on("dialog", (dialog) => { heard.push(`asked: ${dialog.message()}`); dialog.accept(); });
const network = await page.createCDPSession();
await network.send("Network.enable");
network.on("Network.loadingFinished", (event) => { loaded += event.encodedDataLength; });

const text = (selector) => page.$eval(selector, (found) => found.innerText);
const OPS = {
  goto: async ({ url }) => { loaded = 0; const answer = await page.goto(url, { waitUntil: "load" }); return answer?.status() ?? null; },
  url: async () => page.url(),
  text: async ({ selector }) => text(selector),
  all: async ({ selector }) => page.$$eval(selector, (found) => found.map((one) => one.innerText)),
  count: async ({ selector }) => (await page.$$(selector)).length,
  fill: async ({ selector, value }) => { await page.$eval(selector, (input) => { input.value = ""; }); await page.type(selector, value); },
  click: async ({ selector }) => page.click(selector),
  // A click that leads to another page.
  follow: async ({ selector }) => { await Promise.all([page.waitForNavigation(), page.click(selector)]); return page.url(); },
  await: async ({ selector, contains }) => {
    const is = (selector, contains) => [...document.querySelectorAll(selector)].some((one) => one.innerText.includes(contains));
    await page.waitForFunction(is, { timeout: LONG }, selector, contains);
  },
  // Files dropped from outside, as a person drags them.
  drop: async ({ selector, files }) => {
    const input = await page.evaluateHandle(() => { const made = document.createElement("input"); made.type = "file"; made.multiple = true; return made; });
    // Chromium answers ERR_ACCESS_DENIED to a form with a file whose path has `..` in it.
    await input.asElement().uploadFile(...files.map((file) => resolve(file)));
    await page.$eval(selector, (target, input) => {
      const dragged = new DataTransfer();
      for (const file of input.files) dragged.items.add(file);
      for (const kind of ["dragenter", "dragover", "drop"]) target.dispatchEvent(new DragEvent(kind, { dataTransfer: dragged, bubbles: true, cancelable: true }));
    }, input);
  },
  press: async ({ key }) => page.keyboard.press(key),
  focused: async () => page.evaluate(() => { const at = document.activeElement; return at ? `${at.localName}:${(at.innerText || at.name || "").trim()}` : ""; }),
  look: async ({ scheme, width, height, scripts }) => {
    if (scheme) await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    if (width) await page.setViewport({ width, height, deviceScaleFactor: 1, isMobile: width < 600, hasTouch: width < 600 });
    if (scripts !== undefined) await page.setJavaScriptEnabled(scripts);
  },
  // How far the page is wider than the window, in CSS pixels.
  overflow: async () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
  screenshot: async ({ path, whole }) => { await page.screenshot({ path, fullPage: whole ?? false }); },
  // Findings that axe calls serious or critical, in words.
  axe: async () => {
    await network.send("Runtime.evaluate", { expression: axe });
    const { violations } = await page.evaluate(() => axe.run());
    return violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.target.join(" ") + " " + (node.failureSummary ?? "")).join("; ")}`);
  },
  // Another tab in front of the page, until it is closed again.
  cover: async () => { cover = await browser.newPage(); await cover.bringToFront(); },
  uncover: async () => { await cover.close(); await page.bringToFront(); },
  run: async ({ script }) => page.evaluate(script),
  loaded: async () => loaded,
  cache: async ({ on }) => page.setCacheEnabled(on),
  cookies: async () => (await browser.cookies()).map(({ name, httpOnly, sameSite, secure }) => ({ name, httpOnly, sameSite, secure })),
  console: async () => heard.splice(0),
};

console.log(JSON.stringify({ event: "ready", version: await browser.version() }));
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    console.log(JSON.stringify({ id: command.id, value: (await OPS[command.op](command)) ?? null }));
  } catch (error) {
    const shows = await text("body").catch(() => "nothing");
    console.log(JSON.stringify({ id: command.id, error: String(error.message ?? error), url: page.url(), shows, heard }));
  }
}
await browser.close();
