// Opens a page in Chromium and prints what was seen as JSON: node page_check.mjs MODULES CHROMIUM PAGE SHOTS
import { pathToFileURL } from "node:url";

const [modules, executablePath, page, shots] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(`${modules}/playwright-core/index.mjs`));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const seen = { errors: [], requests: [], views: {} };

async function open(name, width, height, colorScheme) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  const tab = await context.newPage();
  tab.on("console", (message) => seen.errors.push(`${name}: ${message.text()}`));
  tab.on("pageerror", (error) => seen.errors.push(`${name}: ${error}`));
  tab.on("request", (request) => {
    if (!request.url().startsWith("data:")) seen.requests.push(request.url());
  });
  await tab.goto(pathToFileURL(page).href);
  await tab.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
  return tab;
}

// The lowest contrast of text, SVG text among it, against the background behind it (WCAG 2.1).
function lowestContrast() {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data];
  };
  const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const bar = style.backgroundImage.match(/linear-gradient\((rgb\([^)]*\))/);
      const colour = bar ? parse(bar[1]) : parse(style.backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  let lowest = { ratio: 21, text: "" };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || element.closest("script, title, .skip, details:not([open]) > :not(summary)")) continue;
    const style = getComputedStyle(element);
    const colour = parse(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(colour), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < lowest.ratio) lowest = { ratio, text };
  }
  return lowest;
}

// The lowest contrast of what is drawn: bars, lines, markers.
function lowestDrawn() {
  const root = getComputedStyle(document.documentElement);
  return ["--series-1", "--series-2", "--series-3", "--series-4", "--surface"].map((n) => root.getPropertyValue(n).trim());
}

for (const [name, width, height, scheme] of [
  ["phone-light", 390, 844, "light"],
  ["phone-dark", 390, 844, "dark"],
  ["narrow", 320, 640, "light"],
  ["desktop", 1280, 900, "light"],
]) {
  const tab = await open(name, width, height, scheme);
  seen.views[name] = await tab.evaluate((width) => ({
    width: document.documentElement.scrollWidth,
    outside: [...document.querySelectorAll("main *, header *")].filter(
      (e) => !e.closest(".scroll, svg") && e.getBoundingClientRect().right > width + 0.5,
    ).length,
    cut: [...document.querySelectorAll("#answers .scroll, .scroll:has(table:not(.sortable))")].filter((e) => e.scrollWidth > e.clientWidth).length,
    background: getComputedStyle(document.body).backgroundColor,
  }), width);
  seen.views[name].contrast = await tab.evaluate(lowestContrast);
  seen.views[name].colours = await tab.evaluate(lowestDrawn);
  await tab.context().close();
}

// By keyboard alone: the skip link is first; a heading sorts by Enter and by the space bar.
const tab = await open("keyboard", 1280, 900, "light");
await tab.keyboard.press("Tab");
seen.first = await tab.evaluate(() => document.activeElement.textContent);
seen.outline = await tab.evaluate(() => getComputedStyle(document.activeElement).outlineWidth);
await tab.keyboard.press("Enter");
seen.skipped = await tab.evaluate(() => document.activeElement.id);
const column = (place) => tab.$$eval(
  "#layers table.sortable tbody tr",
  (rows, place) => rows.map((row) => row.cells[place].textContent.trim()),
  place,
);
for (let step = 0; step < 200; step++) {
  await tab.keyboard.press("Tab");
  if (await tab.evaluate(() => document.activeElement.textContent === "bytes")) break;
}
seen.scrolled = await tab.$$eval(".scroll", (boxes) => boxes.every((box) => box.tabIndex === 0));
const place = await tab.evaluate(() => document.activeElement.closest("th").cellIndex);
const sorted = () => tab.evaluate(() => document.activeElement.closest("th").getAttribute("aria-sort"));
seen.before = await column(place);
await tab.keyboard.press("Enter");
seen.descending = [await sorted(), await column(place)];
await tab.keyboard.press("Space");
seen.ascending = [await sorted(), await column(place)];
await tab.click("#layers table.sortable th button >> text=SQNR");
seen.unknownLast = await column(await tab.$eval("#layers th[aria-sort=descending]", (head) => head.cellIndex));
await tab.click("#layers table.sortable th button >> text=layer");
seen.names = await column(0);
await browser.close();
console.log(JSON.stringify(seen));
