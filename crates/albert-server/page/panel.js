// The frame of every task: model, fields, examples, the button, what came back, the curl command.
//
// A task is made by a function of its panel and gives
//   fields     elements to fill in
//   output     the element that `show` writes into
//   examples   [{name, fill()}], which put something into the fields
//   request()  the body to send, without the model; throws `Missing` if a field is empty
//   show(answer, body)  draws the answer, and returns one line for those who hear the page
//   clear()    draws nothing again
//   tools      more buttons beside the one that runs it (optional)
//   after()    called when an answer was drawn (optional)

import { announce, copyButton, duration, el, identity, Missing, plural, short, whole } from "./common.js";
import { call, curl } from "./api.js";

export class Panel {
  constructor({ id, name, lead, verb, make, wide = false }, models) {
    Object.assign(this, { id, name, models, model: models[0], running: null, answered: false });
    this.route = `v1/${id}`;
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    this.meta = el("p", { class: "meta" });
    this.task = make(this);
    this.button = el("button", { type: "submit", class: "primary" }, verb);
    this.examples = this.makeExamples();
    const form = el(
      "form",
      { class: "input", novalidate: true, "aria-label": name, on: { submit: (event) => this.submitted(event) } },
      this.task.fields,
      el("div", { class: "row" }, this.button, this.task.tools, el("kbd", { class: "keys", "aria-hidden": "true" }, "Ctrl + Enter")),
      this.examples,
    );
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.submitted(event);
    });
    form.addEventListener("input", () => this.edited());
    this.output = el("div", { class: "output" }, this.error, this.task.output, this.meta);
    this.element = el(
      "section",
      { class: wide ? "panel wide" : "panel", id: `panel-${id}`, role: "tabpanel", "aria-labelledby": `tab-${id}`, tabindex: "0", hidden: true },
      el("div", { class: "head" }, el("div", {}, el("h1", {}, name), el("p", { class: "lead" }, lead)), this.makePicker()),
      el("div", { class: "io" }, form, this.output),
      this.makeCurl(),
    );
    this.task.clear();
  }

  makePicker() {
    const facts = el("p", { class: "facts" });
    const describe = () => (facts.textContent = about(this.model));
    describe();
    if (this.models.length === 1) {
      return el("div", { class: "model" }, el("p", { class: "name" }, this.model.id), facts);
    }
    const names = this.models.map((model) => el("option", { value: model.id }, model.id));
    const select = el("select", { id: identity("model") }, names);
    select.addEventListener("change", () => {
      this.model = this.models[select.selectedIndex];
      describe();
      const again = this.answered;
      this.reset();
      this.task.modelChanged?.();
      this.drawCurl();
      if (again) this.run();
    });
    return el("div", { class: "model" }, el("label", { for: select.id }, "Model"), select, facts);
  }

  makeExamples() {
    const button = ({ name, fill }) =>
      el("button", {
        type: "button",
        class: "example",
        on: {
          click: () => {
            fill();
            this.reset();
            this.edited();
            if (!this.task.waits) this.run();
          },
        },
      }, name);
    return el("div", { class: "examples", role: "group", "aria-label": "Examples" },
      el("span", { "aria-hidden": "true" }, "Examples"), this.task.examples.map(button));
  }

  makeCurl() {
    this.command = el("code", {});
    this.details = el("details", { class: "curl" },
      el("summary", {}, "The same with curl"),
      el("div", { class: "command" },
        el("pre", { tabindex: "0", "aria-label": "The command" }, this.command),
        copyButton("Copy", () => this.command.textContent, { "aria-label": "Copy the command" })));
    this.details.addEventListener("toggle", () => this.drawCurl());
    return this.details;
  }

  body() {
    return { model: this.model.id, ...this.task.request() };
  }

  drawCurl() {
    // A task may change its fields while it is being made.
    if (!this.details?.open) return;
    try {
      this.command.textContent = curl(this.route, this.body());
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      this.command.textContent = `# ${error.message}`;
    }
  }

  submitted(event) {
    event.preventDefault();
    this.run();
  }

  edited() {
    this.task.edited?.();
    this.drawCurl();
  }

  reset() {
    this.running?.abort();
    this.answered = false;
    this.meta.textContent = "";
    this.error.hidden = true;
    this.task.clear();
  }

  /// Asks, and draws the answer. Whoever asks again takes back what was asked before.
  async run() {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    this.drawCurl();
    this.error.hidden = true;
    // Most answers come before anyone could see that they are awaited.
    const waiting = setTimeout(() => this.busy(true), 150);
    try {
      const body = this.body();
      const { answer, seconds } = await call(this.route, body, { signal: running.signal });
      const said = this.task.show(answer, body);
      this.answered = true;
      this.meta.textContent = took(answer, seconds);
      if (said) announce(said);
      this.task.after?.();
    } catch (error) {
      if (error.name !== "AbortError") this.fail(error);
    } finally {
      clearTimeout(waiting);
      if (this.running === running) {
        this.running = null;
        this.busy(false);
      }
    }
  }

  busy(yes) {
    this.output.classList.toggle("busy", yes);
    this.output.setAttribute("aria-busy", String(yes));
  }

  fail(error) {
    this.task.clear();
    this.answered = false;
    this.meta.textContent = "";
    const where = [error.status || null, error.code, error.param].filter(Boolean).join(" · ");
    this.error.replaceChildren(error.message, where ? el("small", {}, where) : "");
    this.error.hidden = false;
    if (!error.status && !(error instanceof Missing)) console.error(error);
  }
}

function about(model) {
  const facts = [
    model.parameters && `${short(model.parameters)} parameters`,
    model.precision,
    model.max_tokens && `reads ${whole(model.max_tokens)} tokens`,
  ];
  return facts.filter(Boolean).join(" · ");
}

function took(answer, seconds) {
  const usage = answer.usage ?? {};
  const tokens = usage.tokens ?? usage.total_tokens;
  const facts = [
    `Answered in ${duration(seconds)}`,
    usage.seconds != null && `${duration(usage.seconds)} in the server`,
    tokens != null && plural(tokens, "token"),
  ];
  return facts.filter(Boolean).join(" · ");
}
