// Similarity and embeddings: texts as vectors, and how alike these are.

import { area, bytes, copyButton, el, field, lines, Missing, svg } from "./common.js";

/// A table of more cells is no longer read; the route itself takes more.
const TEXTS_MAX = 24;

const EXAMPLES = [
  ["Money and music", ["How do I get my money back?", "I would like a refund, please.", "The orchestra played until midnight.", "Where can I buy tickets for the concert?"]],
  ["Weather", ["It is raining heavily.", "The sun is shining.", "There is a storm outside.", "It is a bright day.", "He bought a new car."]],
  ["One word apart", ["The bank raised its rates.", "The bank lowered its rates.", "We sat on the bank of the river."]],
];

class Texts {
  constructor() {
    this.text = area(7);
    this.fields = [field("Texts", this.text, "One on each line.")];
    this.output = el("div", {});
    this.examples = EXAMPLES.map(([name, texts]) => ({ name, fill: () => (this.text.value = texts.join("\n")) }));
    this.examples[0].fill();
  }

  texts(least) {
    const texts = lines(this.text.value);
    if (texts.length < least) throw new Missing(least === 1 ? "Write a text first." : "Write at least two texts, each on a line of its own.");
    if (texts.length > TEXTS_MAX) throw new Missing(`This page shows ${TEXTS_MAX} texts at most; the route takes more.`);
    return texts;
  }
}

class Similarity extends Texts {
  request() {
    return { texts: this.texts(2) };
  }

  show({ scores }, { texts }) {
    const pairs = texts.flatMap((_, a) => texts.slice(a + 1).map((_, more) => [a, a + 1 + more]));
    const among = pairs.map(([a, b]) => scores[a][b]);
    const low = Math.min(...among);
    const high = Math.max(...among);
    // Vectors of a small model are all rather alike: the colours span what is there, and two
    // digits are too few where that is little.
    const digits = high - low < 0.1 ? 3 : 2;
    const heat = (score) => (high > low ? (score - low) / (high - low) : 0.5);
    const cell = (score, a, b) => a === b
      ? el("td", { class: "same" }, "1")
      : el("td", { vars: { "--heat": heat(score).toFixed(3) }, title: `${texts[a]} — ${texts[b]}` }, score.toFixed(digits));
    const number = (at) => el("span", { class: "number" }, at + 1);
    const head = el("tr", {}, el("td", {}), texts.map((text, at) => el("th", { scope: "col", title: text }, number(at))));
    const row = (one, a) => el("tr", {}, el("th", { scope: "row", title: texts[a] }, number(a), el("span", { class: "text" }, texts[a])), one.map((score, b) => cell(score, a, b)));
    const [a, b] = pairs[among.indexOf(high)];
    const verdict = el("p", { class: "verdict" }, "Most alike: ", el("b", {}, `${a + 1} and ${b + 1}`), ` at ${high.toFixed(digits)}`);
    this.output.replaceChildren(
      verdict,
      el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Table of similarities" },
        el("table", { class: "heat" }, el("caption", { class: "unseen" }, "Cosine similarity of each text with each"), el("thead", {}, head), el("tbody", {}, scores.map(row)))),
      high > low ? el("p", { class: "scale" }, low.toFixed(digits), el("span", { class: "ramp", "aria-hidden": "true" }), high.toFixed(digits), el("span", { class: "hint" }, "cosine; 1 is the same")) : "");
    return verdict.textContent;
  }

  clear() {
    this.output.replaceChildren(el("p", { class: "empty" }, "How alike the texts are appears here."));
  }
}

class Embeddings extends Texts {
  request() {
    const texts = this.texts(1);
    return { input: texts, encoding_format: "float" };
  }

  show({ data }, { input }) {
    const vectors = [...data].sort((a, b) => a.index - b.index).map((one) => one.embedding);
    const width = vectors[0].length;
    const size = new Blob([JSON.stringify(vectors)]).size;
    const item = (vector, at) => el("li", {},
      el("div", { class: "row" }, el("span", { class: "text" }, input[at]),
        copyButton("Copy", () => JSON.stringify(vector), { "aria-label": `Copy the vector of text ${at + 1}` })),
      strip(vector),
      el("p", { class: "digits" }, `${vector.slice(0, 5).map((value) => value.toFixed(4)).join("  ")}  …`));
    this.output.replaceChildren(
      el("div", { class: "row spread" },
        el("p", { class: "verdict" }, el("b", {}, `${vectors.length} × ${width}`), " numbers"),
        copyButton(`Copy all (${bytes(size)})`, () => JSON.stringify(vectors))),
      el("ol", { class: "vectors" }, vectors.map(item)));
    return `${vectors.length} vectors of ${width} numbers`;
  }

  clear() {
    this.output.replaceChildren(el("p", { class: "empty" }, "The vectors appear here."));
  }
}

/// A vector as a line of strokes, up for positive numbers and down for negative ones.
function strip(vector) {
  const most = Math.max(...vector.map(Math.abs), Number.MIN_VALUE);
  const strokes = vector.map((value, at) => `M${at + 0.5} 0V${(-10 * value / most).toFixed(2)}`).join("");
  return svg("svg", { class: "strip", viewBox: `0 -10.5 ${vector.length} 21`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: strokes }));
}

export const similarity = {
  id: "similarity",
  name: "Similarity",
  lead: "How alike texts are in meaning, each with each.",
  verb: "Compare",
  make: () => new Similarity(),
};

export const embeddings = {
  id: "embeddings",
  name: "Embed",
  lead: "Texts as vectors, for a search or a classifier of your own.",
  verb: "Embed",
  make: () => new Embeddings(),
};
