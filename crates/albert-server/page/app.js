// The page that `albert serve` shows: which tasks there are, the tabs, the theme, the key.
//
// It knows of the server what GET /v1/models says, and shows a task if a loaded model can do it.

import { el, plural } from "./common.js";
import { call, door, key } from "./api.js";
import { Panel } from "./panel.js";
import { themes } from "./theme.js";
import { watch } from "./live.js";
import { fillMask } from "./words.js";
import { order } from "./order.js";
import { answer, choose, classify, tag } from "./tasks.js";
import { embeddings, similarity } from "./vectors.js";

const TASKS = [fillMask, order, classify, tag, answer, choose, similarity, embeddings];

const find = (id) => document.getElementById(id);

async function start() {
  themes();
  keys();
  await load();
  watch();
}

async function load() {
  const note = find("note");
  try {
    const { answer } = await call("v1/models");
    show(answer.data ?? []);
  } catch (error) {
    const again = el("button", { type: "button", on: { click: load } }, "Try again");
    note.replaceChildren(`${error.message} `, again);
  }
}

function show(models) {
  const panels = TASKS
    .map((task) => [task, models.filter((model) => model.tasks?.includes(task.id))])
    .filter(([, able]) => able.length > 0)
    .map(([task, able]) => new Panel(task, able));
  const note = find("note");
  note.hidden = panels.length > 0;
  if (panels.length === 0) {
    note.textContent = models.length === 0
      ? "The server has no model loaded yet."
      : `The server has ${plural(models.length, "model")} loaded, but none for a task of this page.`;
    return;
  }
  find("main").append(...panels.map((panel) => panel.element));
  tabs(panels);
}

/// The pattern of tabs of ARIA: arrows move and choose, Tab goes on into the panel.
function tabs(panels) {
  const row = find("tabs");
  const buttons = panels.map((panel) =>
    el("button", { type: "button", role: "tab", id: `tab-${panel.id}`, "aria-controls": `panel-${panel.id}` }, panel.name));
  const choose = (at, { focus = false, write = true } = {}) => {
    panels.forEach((panel, place) => {
      const chosen = place === at;
      panel.element.hidden = !chosen;
      buttons[place].setAttribute("aria-selected", String(chosen));
      buttons[place].tabIndex = chosen ? 0 : -1;
    });
    if (focus) buttons[at].focus();
    buttons[at].scrollIntoView({ block: "nearest", inline: "center" });
    document.title = `${panels[at].name} · albert`;
    if (write) history.replaceState(null, "", `#${panels[at].id}`);
    panels[at].task.shown?.();
  };
  buttons.forEach((button, at) => button.addEventListener("click", () => choose(at)));
  row.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const last = buttons.length - 1;
    const steps = {
      ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last,
    };
    if (at < 0 || !(event.key in steps)) return;
    event.preventDefault();
    choose(steps[event.key], { focus: true });
  });
  const named = () => panels.findIndex((panel) => `#${panel.id}` === location.hash);
  window.addEventListener("hashchange", () => named() >= 0 && choose(named(), { write: false }));
  row.append(...buttons);
  choose(Math.max(0, named()), { write: false });
}

/// Answers of 401 open the dialog once, however many requests met one.
function keys() {
  const dialog = find("key");
  const text = find("key-text");
  const forget = find("forget");
  const draw = () => (forget.hidden = !key.get());
  let asked = null;
  door.ask = (refused) => {
    asked ??= new Promise((resolve) => {
      find("key-error").hidden = !refused;
      find("key-error").textContent = "The server did not take that key.";
      text.value = "";
      dialog.returnValue = "cancel";
      dialog.showModal();
      dialog.addEventListener("close", () => {
        asked = null;
        const given = dialog.returnValue === "use" && text.value.trim();
        if (given) key.set(given);
        text.value = "";
        draw();
        resolve(Boolean(given));
      }, { once: true });
    });
    return asked;
  };
  forget.addEventListener("click", () => {
    key.set("");
    draw();
  });
  draw();
}

start();
