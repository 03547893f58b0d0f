// Putting sentences in order: a list to be dragged, or moved by keys; how well neighbours follow
// each other stands between them.

import { announce, el, identity, Missing, percent, whole } from "./common.js";
import { call } from "./api.js";

/// As many as the model puts in order: every order is weighed against all others.
const SENTENCES_MAX = 16;
const SETTLE_MS = 250;

const EXAMPLES = [
  ["A life", ["He died in Vienna in 1827.", "He was born in Bonn in 1770.", "As a young man he moved to Vienna to study."]],
  ["A morning", ["Then she drank her coffee on the balcony.", "She got up before the sun rose.", "Finally she left for work.", "She made coffee in the dark kitchen."]],
  ["Two sentences", ["It was the only one that was open.", "They stopped at a small inn by the road."]],
];

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

class Sentences {
  constructor(panel) {
    this.panel = panel;
    this.timer = null;
    this.scoring = null;
    this.list = el("ol", { class: "sentences" });
    this.more = el("button", { type: "button", class: "quiet", on: { click: () => this.add("", true) } }, "Add a sentence");
    this.fields = [this.list];
    this.tools = [this.more, el("button", { type: "button", on: { click: () => this.shuffle() } }, "Shuffle")];
    this.verdict = el("p", { class: "verdict" });
    this.output = this.verdict;
    this.examples = EXAMPLES.map(([name, texts]) => ({ name, fill: () => this.fill(texts) }));
    this.waits = true; // an example is there to be ordered by hand first
    this.fill(EXAMPLES[0][1]);
  }

  rows() {
    return [...this.list.children];
  }

  texts() {
    return this.rows().map((row) => row.querySelector("textarea").value.trim());
  }

  fill(texts) {
    this.list.replaceChildren(...texts.map((text) => this.row(text)));
    this.changed();
  }

  row(text) {
    const input = el("textarea", { rows: 1, spellcheck: "false", id: identity("sentence") });
    input.value = text;
    const grip = el("button", { type: "button", class: "grip", title: "Drag, or press the arrow keys" },
      el("span", { "aria-hidden": "true" }, "⠿"));
    const up = el("button", { type: "button", class: "quiet icon up" }, el("span", { "aria-hidden": "true" }, "↑"));
    const down = el("button", { type: "button", class: "quiet icon down" }, el("span", { "aria-hidden": "true" }, "↓"));
    const away = el("button", { type: "button", class: "quiet icon away" }, el("span", { "aria-hidden": "true" }, "✕"));
    const row = el("li", {},
      el("div", { class: "sentence" }, grip, input, el("span", { class: "moves" }, up, down, away)),
      el("p", { class: "follows", hidden: true }));
    up.addEventListener("click", () => this.move(row, -1, up));
    down.addEventListener("click", () => this.move(row, 1, down));
    away.addEventListener("click", () => this.remove(row));
    grip.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.move(row, by, grip);
    });
    grip.addEventListener("pointerdown", (event) => this.drag(event, row, grip));
    input.addEventListener("input", () => grow(input));
    input.addEventListener("change", () => this.changed());
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      if (row === this.list.lastElementChild) this.add("", true);
      else row.nextElementSibling.querySelector("textarea").focus();
    });
    return row;
  }

  add(text, focus) {
    if (this.rows().length >= SENTENCES_MAX) return;
    const row = this.row(text);
    this.list.append(row);
    this.changed();
    if (focus) row.querySelector("textarea").focus();
  }

  remove(row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.changed();
    next.querySelector(".away").focus();
  }

  move(row, by, focus) {
    const rows = this.rows();
    const to = rows.indexOf(row) + by;
    if (to < 0 || to >= rows.length) return;
    this.glide(() => (by < 0 ? rows[to].before(row) : rows[to].after(row)));
    focus.focus();
    announce(`Now at place ${to + 1} of ${rows.length}`);
    this.changed();
  }

  shuffle() {
    const rows = this.rows();
    for (let at = rows.length - 1; at > 0; at -= 1) {
      const other = Math.floor(Math.random() * (at + 1));
      [rows[at], rows[other]] = [rows[other], rows[at]];
    }
    this.glide(() => this.list.append(...rows));
    this.changed();
  }

  /// The row follows the pointer, and changes places with each neighbour whose middle it passes.
  drag(event, row, grip) {
    if (event.button !== 0) return;
    event.preventDefault();
    grip.focus();
    grip.setPointerCapture(event.pointerId);
    let from = event.clientY;
    row.classList.add("dragged");
    const before = this.rows();
    const moved = ({ clientY }) => {
      const passed = (other, down) => {
        if (!other) return false;
        const { top, height } = other.getBoundingClientRect();
        return down ? clientY > top + height / 2 : clientY < top + height / 2;
      };
      const up = row.previousElementSibling;
      const down = row.nextElementSibling;
      const old = row.offsetTop;
      // It is the neighbour that is moved: a row taken out of the page loses the pointer.
      if (passed(up, false)) row.after(up);
      else if (passed(down, true)) row.before(down);
      from += row.offsetTop - old;
      row.style.setProperty("transform", `translateY(${clientY - from}px)`);
    };
    const done = () => {
      grip.removeEventListener("pointermove", moved);
      row.classList.remove("dragged");
      row.style.removeProperty("transform");
      const after = this.rows();
      if (after.some((one, at) => one !== before[at])) {
        announce(`Now at place ${after.indexOf(row) + 1} of ${after.length}`);
        this.changed();
      }
    };
    grip.addEventListener("pointermove", moved);
    grip.addEventListener("lostpointercapture", done, { once: true });
  }

  /// Changes the list, and lets the rows glide to their new places.
  glide(change) {
    const rows = this.rows();
    const before = new Map(rows.map((row) => [row, row.getBoundingClientRect().top]));
    change();
    if (still()) return;
    for (const row of rows) {
      const by = before.get(row) - row.getBoundingClientRect().top;
      if (by) row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 220, easing: "ease-out" });
    }
  }

  /// After every change of texts or places: names, limits, and the scores of the new neighbours.
  changed() {
    const rows = this.rows();
    rows.forEach((row, at) => {
      const name = (part, text) => row.querySelector(part).setAttribute("aria-label", `${text} ${at + 1}`);
      name("textarea", "Sentence");
      name(".grip", "Move sentence");
      name(".up", "Move up sentence");
      name(".down", "Move down sentence");
      name(".away", "Remove sentence");
      row.querySelector(".up").disabled = at === 0;
      row.querySelector(".down").disabled = at === rows.length - 1;
      row.querySelector(".away").disabled = rows.length <= 2;
      row.querySelector(".follows").hidden = true;
      grow(row.querySelector("textarea"));
    });
    this.more.disabled = rows.length >= SENTENCES_MAX;
    this.clear();
    this.panel.drawCurl();
    clearTimeout(this.timer);
    this.scoring?.abort();
    if (this.onPage) this.timer = setTimeout(() => this.score(), SETTLE_MS);
  }

  /// How likely each sentence comes before the next, as they stand.
  async score() {
    const texts = this.texts();
    if (texts.some((text) => !text)) return;
    const lists = texts.slice(1).map((text, at) => [texts[at], text]);
    this.scoring?.abort();
    this.scoring = new AbortController();
    const rows = this.rows();
    try {
      const body = { model: this.panel.model.id, lists };
      const { answer } = await call(this.panel.route, body, { signal: this.scoring.signal });
      answer.results.forEach(({ in_order: share }, at) => {
        const follows = rows[at].querySelector(".follows");
        follows.classList.toggle("against", share < 0.5);
        follows.replaceChildren(
          el("span", { class: "track", "aria-hidden": "true" }, el("span", { class: "fill", vars: { "--share": share } })),
          el("b", {}, percent(share)), share < 0.5 ? " in this order: swap them?" : " in this order");
        follows.hidden = false;
      });
    } catch (error) {
      if (error.name !== "AbortError") this.panel.fail(error);
    }
  }

  request() {
    const texts = this.texts();
    const empty = texts.findIndex((text) => !text);
    if (empty >= 0) throw new Missing(`Sentence ${empty + 1} is empty: write it, or remove it.`);
    return { lists: [texts] };
  }

  show(answer, body) {
    const texts = body.lists[0];
    const result = answer.results[0];
    const [places, score] = texts.length === 2
      ? [result.in_order >= result.swapped ? [0, 1] : [1, 0], Math.max(result.in_order, result.swapped)]
      : [result.order, result.score];
    const rows = this.rows();
    const same = places.every((place, at) => place === at);
    this.glide(() => this.list.append(...places.map((place) => rows[place])));
    this.changed();
    let orders = 1;
    for (let count = 2; count <= texts.length; count += 1) orders *= count;
    this.verdict.replaceChildren(
      el("b", {}, percent(score)), ` for this order, out of ${whole(orders)} possible. `,
      same ? "The model leaves it as it was." : "The model moved the sentences.");
    return this.verdict.textContent;
  }

  shown() {
    this.onPage = true;
    // Heights are known only once the panel is seen.
    this.changed();
  }

  modelChanged() {
    this.changed();
  }

  clear() {
    this.verdict.replaceChildren();
  }
}

function grow(input) {
  input.style.setProperty("height", "auto");
  if (input.scrollHeight) input.style.setProperty("height", `${input.scrollHeight}px`);
}

export const order = {
  id: "order",
  name: "Order",
  lead: "Drag the sentences into the order that you think right, or let the model do it.",
  verb: "Let the model order them",
  wide: true,
  make: (panel) => new Sentences(panel),
};
