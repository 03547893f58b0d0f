// Filling the gap: a sentence as words; the one that is pointed at is hidden, and guessed.
//
// A gap is written [MASK] in the request. Gaps that the user wrote stand beside the hidden word.

import { area, bars, el, field, need, percent } from "./common.js";

const MASK = "[MASK]";
const BLANK = "\u2003\u2003";
/// Gaps that the user wrote, words (with their apostrophes and hyphens), and all between them.
const PIECES = /\[MASK\]|[\p{L}\p{N}\p{M}]+(?:['’-][\p{L}\p{N}\p{M}]+)*/gu;
/// How long the pointer rests on a word before it is asked about: less than people notice, more
/// than it takes to cross a word.
const REST_MS = 120;
const TOP_K = 8;
const ANSWERS_KEPT = 200;

const EXAMPLES = [
  ["A river", "The river runs through the city and into the sea."],
  ["A war", "The war began in 1914 and ended four years later."],
  ["Two gaps", "She was born in [MASK] and studied at the University of [MASK]."],
];

/// What a token stands for: SentencePiece marks with ▁ what begins a word, WordPiece with ## what
/// does not. A hyphen shows that a token goes on with the word before it.
export function tokenText(token) {
  if (token.startsWith("▁")) return token.slice(1) || "(space)";
  if (token.startsWith("##")) return `-${token.slice(2)}`;
  return token;
}

class Sentence {
  constructor(panel) {
    this.panel = panel;
    this.hidden = null; // the word that is hidden: its place among the pieces
    this.pinned = false;
    this.known = new Map(); // answers, so that crossing a word again asks nothing
    this.timer = null;
    this.text = area(2, EXAMPLES[0][1]);
    this.stage = el("p", { class: "stage", role: "group", "aria-label": "The words: arrow keys to move, Enter to hide one, Escape to show it again" });
    this.fields = [field("Sentence", this.text, "Point at a word below, or write [MASK] here and press the button.")];
    this.guesses = el("div", { class: "guesses" });
    this.output = el("div", {}, this.stage, this.guesses);
    this.examples = EXAMPLES.map(([name, text]) => ({ name, fill: () => (this.text.value = text) }));
    this.listen();
    this.draw();
  }

  listen() {
    const place = (event) => {
      const word = event.target.closest?.("button.word");
      return word ? Number(word.dataset.at) : null;
    };
    this.stage.addEventListener("pointerover", (event) => {
      // Words that come to lie under a pointer at rest, as when a text is typed, are not pointed at.
      const spot = `${event.screenX},${event.screenY}`;
      const rests = spot === this.spot;
      this.spot = spot;
      const at = place(event);
      if (at === null || rests || this.pinned || event.pointerType === "touch") return;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.hide(at), REST_MS);
    });
    this.stage.addEventListener("pointermove", (event) => (this.spot = `${event.screenX},${event.screenY}`));
    this.stage.addEventListener("pointerleave", () => clearTimeout(this.timer));
    this.stage.addEventListener("click", (event) => {
      const at = place(event);
      if (at === null) return;
      clearTimeout(this.timer);
      if (this.pinned && this.hidden === at) this.unhide();
      else this.hide(at, true);
    });
    this.stage.addEventListener("keydown", (event) => this.keyed(event));
  }

  keyed(event) {
    const words = [...this.stage.querySelectorAll("button.word")];
    const at = words.indexOf(document.activeElement);
    if (event.key === "Escape") return this.unhide();
    const last = words.length - 1;
    const steps = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last };
    if (at < 0 || !(event.key in steps)) return;
    event.preventDefault();
    words.forEach((word, place) => (word.tabIndex = place === steps[event.key] ? 0 : -1));
    words[steps[event.key]].focus();
  }

  /// An example without gaps waits for a word to be hidden.
  get waits() {
    return !this.text.value.includes(MASK);
  }

  /// The text as [piece, is it a word or a gap].
  pieces() {
    const text = this.text.value;
    const pieces = [];
    let end = 0;
    for (const found of text.matchAll(PIECES)) {
      if (found.index > end) pieces.push([text.slice(end, found.index), "between"]);
      pieces.push([found[0], found[0] === MASK ? "gap" : "word"]);
      end = found.index + found[0].length;
    }
    if (end < text.length) pieces.push([text.slice(end), "between"]);
    return pieces;
  }

  /// The words anew, after the text changed.
  draw() {
    let first = true;
    const piece = ([text, kind], at) => {
      if (kind === "between") return text;
      if (kind === "gap") return el("span", { class: "gap" }, BLANK);
      const tabindex = first ? 0 : -1;
      first = false;
      return el("button", { type: "button", class: "word", "data-at": at, tabindex, "aria-pressed": "false" }, text);
    };
    this.stage.replaceChildren(...this.pieces().map(piece));
  }

  /// The words stay the same elements: one that was replaced under the pointer would be entered, and
  /// asked about, again.
  press(at) {
    this.hidden = at;
    for (const word of this.stage.querySelectorAll("button.word")) {
      const pressed = Number(word.dataset.at) === at;
      word.setAttribute("aria-pressed", String(pressed));
    }
  }

  hide(at, pin = false) {
    this.press(at);
    this.pinned = pin;
    const known = this.known.get(this.name());
    if (!known) return this.panel.run();
    this.panel.running?.abort();
    this.panel.error.hidden = true;
    this.show(known);
    this.panel.drawCurl();
  }

  unhide() {
    this.press(null);
    this.pinned = false;
    this.panel.reset();
    this.panel.drawCurl();
  }

  masked() {
    return this.pieces().map(([text], at) => (at === this.hidden ? MASK : text)).join("");
  }

  name() {
    return `${this.panel.model.id}\n${this.masked()}`;
  }

  request() {
    need(this.text.value, "Write a sentence first.");
    const text = this.masked();
    need(text.includes(MASK) ? text : "", "Point at a word to hide it, or write [MASK] in the sentence.");
    return { texts: [text], top_k: TOP_K };
  }

  /// The words that stand behind the gaps, in the order of the masks; null where nobody knows.
  originals() {
    return this.pieces().map(([text, kind], at) => (kind === "gap" ? null : at === this.hidden ? text : undefined))
      .filter((word) => word !== undefined);
  }

  show(answer) {
    const { masks } = answer.results[0];
    if (this.known.size >= ANSWERS_KEPT) this.known.clear();
    this.known.set(this.name(), answer);
    const originals = this.originals();
    const best = masks.map((mask) => tokenText(mask.predictions[0].token));
    this.guesses.replaceChildren(...masks.map((mask, at) => this.column(mask, at, originals[at], masks.length)),
      el("p", { class: "hint under" }, "Widths are relative to the best guess. Press a guess to put it into the sentence."));
    const gaps = [...this.stage.querySelectorAll(".gap")];
    originals.forEach((word, at) => word === null && (gaps.shift().textContent = best[at]));
    return masks.map((mask) => {
      const { token, score } = mask.predictions[0];
      return `${tokenText(token)}, ${percent(score)}`;
    }).join("; ");
  }

  column(mask, at, original, count) {
    const same = (text) => original != null && text.toLowerCase() === original.toLowerCase();
    const items = mask.predictions.map(({ token, score }) => {
      const text = tokenText(token);
      return { label: text, score, best: same(text), title: `Put “${text}” into the sentence` };
    });
    const title = original != null ? `Instead of “${original}”` : count > 1 ? `Gap ${at + 1}` : "The gap";
    const found = original == null || items.some((item) => item.best)
      ? null : el("p", { class: "hint" }, `Your word is not among the first ${items.length}.`);
    return el("section", {},
      el("h2", {}, title),
      bars(items, { relative: true, pick: (item) => this.put(at, item.label), name: `Guesses: ${title}` }),
      found);
  }

  /// Writes a guess in the place of the gap `which`.
  put(which, text) {
    let gap = -1;
    this.text.value = this.pieces().map(([piece, kind], at) => {
      if (kind !== "gap" && at !== this.hidden) return piece;
      gap += 1;
      return gap === which ? text.replace(/^-/, "") : piece;
    }).join("");
    this.panel.reset();
    this.edited();
    this.panel.drawCurl();
    // With gaps left, what was chosen changes what fits the others.
    if (this.text.value.includes(MASK)) this.panel.run();
    else this.stage.querySelector("button.word")?.focus();
  }

  edited() {
    this.hidden = null;
    this.pinned = false;
    clearTimeout(this.timer);
    this.panel.running?.abort();
    this.draw();
    this.clear();
  }

  clear() {
    this.guesses.replaceChildren(el("p", { class: "empty" }, "The guesses appear here."));
    for (const gap of this.stage.querySelectorAll(".gap")) gap.textContent = BLANK;
  }
}

export const fillMask = {
  id: "fill-mask",
  name: "Fill the gap",
  lead: "Point at a word, or tap it, to hide it: the model guesses it from the rest.",
  verb: "Fill the gaps",
  wide: true,
  make: (panel) => new Sentence(panel),
};
