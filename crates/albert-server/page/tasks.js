// Classifying, tagging, answering, choosing: a form on one side, what the model says on the other.

import { area, bars, el, field, identity, line, lines, Missing, need, percent, tick } from "./common.js";

const empty = (text) => el("p", { class: "empty" }, text);

/// Offsets of the server count characters (code points), those of JavaScript halves of UTF-16.
const characters = (text) => Array.from(text);

class Classify {
  constructor(panel) {
    this.panel = panel;
    this.text = area(4);
    this.pair = area(2);
    this.labels = area(3);
    this.hypothesis = line("", { placeholder: "This example is {}." });
    this.several = tick("More than one label may fit");
    this.second = el("details", {}, el("summary", {}, "A second text, for a model of pairs"), field("Second text", this.pair));
    this.zero = el("div", { class: "zero" },
      field("Labels of your own", this.labels, "One on each line. This model was trained on entailment: it can say of any label whether the text fits it."),
      field("Sentence that each label is put into", this.hypothesis),
      this.several.element);
    this.fields = [field("Text", this.text), this.second, this.zero];
    this.output = el("div", {});
    const example = (name, text, labels) => ({
      name,
      fill: () => {
        this.text.value = text;
        this.pair.value = "";
        this.labels.value = labels.join("\n");
      },
    });
    this.examples = [
      example("A film", "A warm, funny and beautifully acted film that I would gladly see again.", ["praise", "complaint", "question"]),
      example("A bank", "My card still has not arrived, and I ordered it two weeks ago.", ["complaint", "praise", "question"]),
      example("The news", "The home side scored twice in the last ten minutes and won the cup.", ["sport", "politics", "science", "business"]),
    ];
    this.examples[0].fill();
    this.modelChanged();
  }

  entails() {
    return (this.panel.model.labels ?? []).some((label) => /^entail/i.test(label));
  }

  modelChanged() {
    this.zero.hidden = !this.entails();
  }

  request() {
    const text = need(this.text.value, "Write a text first.");
    const labels = this.entails() ? lines(this.labels.value) : [];
    const pair = this.pair.value.trim();
    if (labels.length > 0 && pair) throw new Missing("With labels of your own, a text has no second one: empty one of the two.");
    const body = { texts: [pair ? { text, pair } : text] };
    if (labels.length > 0) body.labels = labels;
    if (labels.length > 0 && this.hypothesis.value.trim()) body.hypothesis = this.hypothesis.value;
    if (labels.length > 0 && this.several.input.checked) body.several = true;
    return body;
  }

  show(answer) {
    const { label: best, score, scores, labels: holding } = answer.results[0];
    const values = Object.values(scores);
    // A regression gives plain numbers, which no bar from 0 to 1 can hold.
    if (values.some((value) => value < 0 || value > 1)) {
      const facts = Object.entries(scores).map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value.toFixed(4))));
      this.output.replaceChildren(el("dl", { class: "numbers" }, facts));
      return `${best}: ${score.toFixed(4)}`;
    }
    const items = Object.entries(scores)
      .map(([label, value]) => ({ label, score: value, best: holding ? holding.includes(label) : label === best }))
      .sort((a, b) => b.score - a.score);
    this.output.replaceChildren(
      el("p", { class: "verdict" }, el("b", {}, holding ? holding.join(", ") || "None of the labels" : best)),
      bars(items, { shown: 8, name: "Scores of the labels" }));
    return `${best}, ${percent(score)}`;
  }

  clear() {
    this.output.replaceChildren(empty("The scores appear here."));
  }
}

/// Hues of the entities, in degrees of OKLCH: neighbours in the list are far apart on the wheel.
const HUES = [255, 60, 150, 330, 200, 30, 300, 110];

class Tag {
  constructor(panel) {
    this.panel = panel;
    this.text = area(6);
    this.fields = [field("Text", this.text)];
    this.output = el("div", {});
    this.examples = [
      ["A meeting", "Marie Curie met Albert Einstein in Brussels in 1911, when Ernest Solvay invited them to the Hotel Metropole."],
      ["A company", "Siemens was founded in Berlin by Werner von Siemens and moved its head office to Munich after the war."],
      ["A match", "Japan began the defence of their Asian Cup title against Syria in Al-Ain on Friday."],
    ].map(([name, text]) => ({ name, fill: () => (this.text.value = text) }));
    this.examples[0].fill();
  }

  request() {
    return { texts: [need(this.text.value, "Write a text first.")] };
  }

  /// A hue for each kind of entity that the model knows, or that came.
  hues(entities) {
    const known = (this.panel.model.labels ?? []).filter((label) => label !== "O").map((label) => label.replace(/^[BIES]-/, ""));
    const kinds = [...new Set([...known, ...entities.map((entity) => entity.label)])];
    return new Map(kinds.map((kind, at) => [kind, HUES[at % HUES.length]]));
  }

  show(answer, body) {
    const entities = [...answer.results[0].entities].sort((a, b) => a.start - b.start);
    if (entities.length === 0) {
      this.output.replaceChildren(empty("The model found no entity in this text."));
      return "No entity found";
    }
    const hues = this.hues(entities);
    const text = characters(body.texts[0]);
    const parts = [];
    let end = 0;
    for (const { label, start, end: stop, score } of entities) {
      if (start < end) continue;
      parts.push(text.slice(end, start).join(""));
      parts.push(el("mark", { class: "entity", "data-label": label, vars: { "--hue": hues.get(label) }, title: `${label}, ${percent(score)}` },
        text.slice(start, stop).join(""), el("small", {}, label)));
      end = stop;
    }
    parts.push(text.slice(end).join(""));
    const passage = el("p", { class: "passage" }, parts);
    const list = entities.map(({ label, text: words, score }) => ({ label: `${words} · ${label}`, score }));
    this.output.replaceChildren(passage, this.legend(entities, hues, passage),
      el("h2", {}, "How sure the model is"), bars(list, { shown: 12, name: "Entities" }));
    return entities.map(({ label, text: words }) => `${words}: ${label}`).join("; ");
  }

  /// Each kind with its number; pressing one leaves only its entities coloured.
  legend(entities, hues, passage) {
    const counts = new Map();
    for (const { label } of entities) counts.set(label, (counts.get(label) ?? 0) + 1);
    let alone = null;
    const buttons = [...counts].map(([label, count]) => {
      const button = el("button", { type: "button", class: "kind", "aria-pressed": "false", vars: { "--hue": hues.get(label) } }, `${label} `, el("b", {}, count));
      button.addEventListener("click", () => {
        alone = alone === label ? null : label;
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button && alone !== null));
        for (const mark of passage.querySelectorAll("mark")) mark.classList.toggle("faint", alone !== null && mark.dataset.label !== alone);
      });
      return button;
    });
    return el("div", { class: "legend", role: "group", "aria-label": "Kinds: press one to see it alone" }, buttons);
  }

  clear() {
    this.output.replaceChildren(empty("The entities appear here."));
  }
}

const BEETHOVEN = "Ludwig van Beethoven was born in Bonn in December 1770. He was taught by his father, a singer, who was known to be a harsh teacher. In 1792 he moved to Vienna, where he studied with Haydn and soon won a name as a pianist. He died there on 26 March 1827.";
const RIVER = "The Danube rises in the Black Forest and flows south-east for 2,850 km before it empties into the Black Sea. It passes through ten countries, more than any other river, and four capitals lie on its banks: Vienna, Bratislava, Budapest and Belgrade.";

class Answer {
  constructor() {
    this.context = area(9);
    this.question = line();
    this.none = tick("The text may have no answer");
    this.fields = [field("Text that has the answer", this.context), field("Question", this.question), this.none.element];
    this.output = el("div", {});
    this.examples = [
      ["Where?", BEETHOVEN, "Where was Beethoven born?"],
      ["Who?", BEETHOVEN, "With whom did he study in Vienna?"],
      ["How long?", RIVER, "How long is the Danube?"],
    ].map(([name, context, question]) => ({
      name,
      fill: () => {
        this.context.value = context;
        this.question.value = question;
      },
    }));
    this.examples[0].fill();
  }

  request() {
    const context = need(this.context.value, "Write a text that has the answer.");
    const question = need(this.question.value, "Write a question first.");
    const body = { questions: [{ question, context }], top_k: 4 };
    return this.none.input.checked ? { ...body, no_answer: true } : body;
  }

  show(answer, body) {
    const result = answer.results[0];
    const candidates = result.candidates ?? [];
    const passage = el("p", { class: "passage" }, spans(body.questions[0].context, candidates));
    const point = (rank) => {
      for (const mark of passage.querySelectorAll("mark")) {
        mark.classList.toggle("pointed", mark.dataset.ranks.split(" ").includes(String(rank)));
      }
    };
    const items = candidates.map((candidate, rank) => ({
      label: candidate.answer, score: candidate.score, rank, title: "Show it in the text", best: rank === 0 && Boolean(result.answer),
    }));
    const list = bars(items, { pick: (item) => point(item.rank), relative: true, name: "Answers, the best first" });
    const buttons = [...list.querySelectorAll("button")];
    buttons.forEach((button, rank) => {
      button.addEventListener("pointerenter", () => point(rank));
      button.addEventListener("focus", () => point(rank));
      button.addEventListener("pointerleave", () => point(null));
      button.addEventListener("blur", () => point(null));
    });
    const none = result.no_answer_score;
    this.output.replaceChildren(
      el("p", { class: "verdict" }, el("b", {}, result.answer || "No answer in this text"), ` ${percent(result.score)}`),
      passage,
      list,
      none == null ? "" : el("p", { class: "hint" }, `That the text has no answer: ${percent(none)}. Widths are relative to the best answer.`));
    return `${result.answer || "No answer"}, ${percent(result.score)}`;
  }

  clear() {
    this.output.replaceChildren(empty("The answers appear here, marked in the text."));
  }
}

/// The text with the candidates marked. They may overlap, so it is cut wherever one begins or ends;
/// each piece knows the ranks of those that hold it, and is as strong as the best of them.
function spans(context, candidates) {
  const text = characters(context);
  const cuts = [...new Set([0, text.length, ...candidates.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
  return cuts.slice(1).map((end, at) => {
    const start = cuts[at];
    const piece = text.slice(start, end).join("");
    const ranks = candidates.flatMap((one, rank) => (one.start <= start && end <= one.end ? [rank] : []));
    if (ranks.length === 0) return piece;
    return el("mark", { class: ranks[0] === 0 ? "answer first" : "answer", "data-ranks": ranks.join(" ") }, piece);
  });
}

const OPTIONS_MAX = 12;

class Choose {
  constructor(panel) {
    this.panel = panel;
    this.context = area(5);
    this.question = line();
    this.options = el("ol", { class: "options" });
    this.more = el("button", { type: "button", class: "quiet", on: { click: () => this.add("", true) } }, "Add an option");
    const title = identity("options");
    this.fields = [
      field("Text", this.context),
      field("Question (may stay empty)", this.question),
      el("div", { class: "field", role: "group", "aria-labelledby": title }, el("span", { class: "label", id: title }, "Options"), this.options, this.more),
    ];
    this.output = el("div", {});
    this.examples = [
      ["A story", "It had rained all night, and the path along the river was under water.", "What did the walkers do?", ["They took the road over the hill.", "They swam in the sea.", "They bought a new piano."]],
      ["A cause", "The lamp went out and the whole street was dark.", "Why?", ["The power had failed.", "It was noon.", "The street had been swept."]],
      ["An ending", "She put the key into the lock and turned it slowly.", "", ["The door opened without a sound.", "The soup was too salty.", "The train left at nine.", "He had never learned to swim."]],
    ].map(([name, context, question, options]) => ({
      name,
      fill: () => {
        this.context.value = context;
        this.question.value = question;
        this.options.replaceChildren();
        for (const option of options) this.add(option);
      },
    }));
    this.examples[0].fill();
  }

  add(text, focus) {
    const input = line(text);
    const away = el("button", { type: "button", class: "quiet icon away" }, el("span", { "aria-hidden": "true" }, "✕"));
    const row = el("li", {}, input, away);
    away.addEventListener("click", () => {
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      this.number();
      next.querySelector("input").focus();
    });
    this.options.append(row);
    this.number();
    if (focus) input.focus();
  }

  number() {
    const rows = [...this.options.children];
    rows.forEach((row, at) => {
      row.querySelector("input").setAttribute("aria-label", `Option ${at + 1}`);
      row.querySelector(".away").setAttribute("aria-label", `Remove option ${at + 1}`);
      row.querySelector(".away").disabled = rows.length <= 2;
    });
    this.more.disabled = rows.length >= OPTIONS_MAX;
    this.panel.drawCurl();
  }

  request() {
    const context = need(this.context.value, "Write a text first.");
    const options = [...this.options.querySelectorAll("input")].map((input) => input.value.trim());
    const gap = options.findIndex((option) => !option);
    if (gap >= 0) throw new Missing(`Option ${gap + 1} is empty: write it, or remove it.`);
    const question = this.question.value.trim();
    return { questions: [question ? { context, question, options } : { context, options }] };
  }

  show(answer, body) {
    const { choice, index, scores } = answer.results[0];
    const { options } = body.questions[0];
    const items = options.map((label, at) => ({ label, score: scores[at], best: at === index }));
    this.output.replaceChildren(el("p", { class: "verdict" }, el("b", {}, choice)), bars(items, { name: "Scores of the options" }));
    return `${choice}, ${percent(scores[index])}`;
  }

  clear() {
    this.output.replaceChildren(empty("The scores of the options appear here."));
  }
}

export const classify = {
  id: "classify",
  name: "Classify",
  lead: "Which label fits the text, and how sure the model is of each.",
  verb: "Classify",
  make: (panel) => new Classify(panel),
};

export const tag = {
  id: "tag",
  name: "Tag",
  lead: "Names of people, places and whatever else the model was trained to find.",
  verb: "Find the entities",
  make: (panel) => new Tag(panel),
};

export const answer = {
  id: "answer",
  name: "Answer",
  lead: "The answer to a question, found in a text of your own.",
  verb: "Find the answer",
  make: () => new Answer(),
};

export const choose = {
  id: "choose",
  name: "Choose",
  lead: "Which of several options fits best, given a text and a question.",
  verb: "Choose",
  make: (panel) => new Choose(panel),
};
