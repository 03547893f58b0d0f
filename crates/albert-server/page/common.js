// What the panels share: making elements, numbers as people read them, bars, copying.
// Nothing here knows a task. Texts enter the page as text nodes alone, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/// An element. `on` holds listeners, `vars` custom properties; the rest are attributes, of which
/// true stands for an empty one, and false, null and undefined for none.
export function el(tag, properties = {}, ...children) {
  return dress(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), properties, children);
}

function dress(node, { on = {}, vars = {}, ...attributes }, children) {
  for (const [name, listener] of Object.entries(on)) node.addEventListener(name, listener);
  for (const [name, value] of Object.entries(vars)) node.style.setProperty(name, value);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

let identities = 0;
export const identity = (prefix) => `${prefix}-${(identities += 1)}`;

/// A label with its field under it.
export function field(name, input, hint) {
  input.id ||= identity("field");
  const about = hint && el("p", { class: "hint", id: identity("hint") }, hint);
  if (about) input.setAttribute("aria-describedby", about.id);
  return el("div", { class: "field" }, el("label", { for: input.id }, name), input, about);
}

export const area = (rows, value = "") => {
  const node = el("textarea", { rows, spellcheck: "false" });
  node.value = value;
  return node;
};

export const line = (value = "", properties = {}) => {
  const node = el("input", { type: "text", autocomplete: "off", spellcheck: "false", ...properties });
  node.value = value;
  return node;
};

/// A box to tick.
export function tick(name) {
  const input = el("input", { type: "checkbox" });
  return { input, element: el("label", { class: "tick" }, input, name) };
}

/// Lines with something on them.
export const lines = (text) => text.split("\n").map((one) => one.trim()).filter(Boolean);

/// What is missing before the server can be asked; shown to the user as it stands.
export class Missing extends Error {}

export function need(text, message) {
  if (!text.trim()) throw new Missing(message);
  return text;
}

export function percent(share) {
  if (share > 0 && share < 0.001) return "<0.1%";
  if (share < 1 && share > 0.999) return ">99.9%";
  return `${(100 * share).toFixed(1)}%`;
}

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
// The British short form of a million is "m", which reads as a thousandth.
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

export const whole = (number) => WHOLE.format(number);
export const short = (number) => SHORT.format(number);

/// A rate, to three digits: more would only flicker.
export const rate = (number) => (number < 1e5 ? whole(Number(number.toPrecision(3))) : short(number));

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let rest = number;
  for (; rest >= 1000 && at < units.length - 1; at += 1) rest /= 1000;
  return `${rest < 10 && at > 0 ? rest.toFixed(1) : Math.round(rest)} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds < 0.001) return "under 1 ms";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} days`;
}

export const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

/// Horizontal bars, in the order given. The full width is 1, or the largest score if `relative`:
/// guesses among thousands of words would else be slivers. `pick` makes each a button.
export function bars(items, { relative = false, pick, shown = Infinity, name } = {}) {
  const full = relative ? Math.max(...items.map((item) => item.score), Number.MIN_VALUE) : 1;
  const row = (item) => {
    const share = Math.min(1, Math.max(0, item.score / full));
    const parts = [
      el("span", { class: "name" }, item.label),
      el("span", { class: "track", "aria-hidden": "true" }, el("span", { class: "fill", vars: { "--share": share } })),
      el("span", { class: "value" }, item.value ?? percent(item.score)),
    ];
    const inside = pick
      ? el("button", { type: "button", title: item.title, on: { click: () => pick(item) } }, parts)
      : parts;
    return el("li", { class: item.best ? "best" : null, hidden: item.hidden }, inside);
  };
  const list = el("ol", { class: "bars", "aria-label": name }, items.map(row));
  const rest = [...list.children].slice(shown);
  if (rest.length < 2) return list;
  for (const item of rest) item.hidden = true;
  const more = el("button", { type: "button", class: "quiet more" }, `Show all ${items.length}`);
  more.addEventListener("click", () => {
    for (const item of rest) item.hidden = false;
    more.remove();
  });
  return el("div", {}, list, more);
}

/// Says something to those who hear the page instead of seeing it.
export function announce(text) {
  document.getElementById("announce").textContent = text;
}

/// A button that copies what `text()` returns, also where the clipboard is closed to the page, as
/// it is over plain HTTP from another machine.
export function copyButton(name, text, properties = {}) {
  const button = el("button", { type: "button", class: "quiet", ...properties }, name);
  button.addEventListener("click", async () => {
    const done = await copy(text());
    button.textContent = done ? "Copied" : "Select and copy by hand";
    announce(button.textContent);
    setTimeout(() => (button.textContent = name), 1600);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const node = el("textarea", { class: "unseen", readonly: true });
    node.value = text;
    document.body.append(node);
    node.select();
    const done = document.execCommand("copy");
    node.remove();
    before?.focus();
    return done;
  }
}
