// What the server is doing, from GET /v1/stats: asked while the page is seen, and only then.

import { bytes, duration, el, plural, rate, short, svg } from "./common.js";
import { call } from "./api.js";

const PERIOD_MS = 2000;
/// Points of the curve: two minutes.
const POINTS = 60;

const find = (id) => document.getElementById(id);

export function watch() {
  const rates = [];
  let timer = null;
  let underWay = false;
  const ask = async () => {
    clearTimeout(timer);
    if (underWay) return;
    underWay = true;
    try {
      // A tab left open must not ask for a key every other second.
      const { answer } = await call("v1/stats", undefined, { asking: false });
      rates.push(answer.tokens_per_second ?? 0);
      rates.splice(0, rates.length - POINTS);
      draw(answer, rates);
    } catch (error) {
      find("live").hidden = true;
      find("stats").replaceChildren(el("div", {}, el("dt", {}, "Server"), el("dd", {}, error.message)));
      // A server without this route will not grow one; the flag stays, so nobody asks again.
      if (error.status === 404) return;
    }
    underWay = false;
    if (!document.hidden) timer = setTimeout(ask, PERIOD_MS);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else ask();
  });
  if (!document.hidden) ask();
}

function draw(stats, rates) {
  find("live").hidden = false;
  find("rate").textContent = rate(stats.tokens_per_second ?? 0);
  curve(rates);
  const facts = [
    ["Queue", plural(stats.queue_tokens ?? 0, "token")],
    ["Requests", short(stats.requests ?? 0)],
    ["Memory", bytes(stats.memory_bytes ?? 0)],
    ["Up for", duration(Math.max(1, stats.uptime_seconds ?? 1))],
  ];
  const fact = ([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  find("stats").replaceChildren(...facts.map(fact));
}

/// The newest on the right; the height is that of the fastest seen.
function curve(rates) {
  const top = Math.max(...rates, 1);
  const x = (at) => POINTS - rates.length + at + 0.5;
  const y = (value) => (17 - 15 * (value / top)).toFixed(2);
  const points = rates.map((value, at) => `${x(at)},${y(value)}`).join(" ");
  const under = `${x(0)},18 ${points} ${x(rates.length - 1)},18`;
  find("spark").replaceChildren(
    svg("polygon", { points: under, class: "under" }),
    svg("polyline", { points, class: "curve", "vector-effect": "non-scaling-stroke" }),
  );
}
