// The routes of the server, drawn from its openapi.json: what each takes, gives, and an example.

import { copyButton, el, plural } from "./common.js";
import { call, curl } from "./api.js";
import { themes } from "./theme.js";

const VERBS = ["get", "post", "put", "patch", "delete", "head", "options"];
/// Schemas may hold themselves; nobody reads deeper than this.
const DEPTH_MAX = 6;

const find = (id) => document.getElementById(id);

async function start() {
  themes();
  const note = find("note");
  try {
    const { answer } = await call("openapi.json");
    find("lead").textContent = answer.info?.description ?? "";
    draw(answer);
  } catch (error) {
    note.textContent = error.message;
  }
}

function draw(book) {
  const groups = new Map();
  let count = 0;
  for (const [path, routes] of Object.entries(book.paths ?? {})) {
    for (const verb of VERBS.filter((one) => routes[one])) {
      const route = routes[verb];
      const group = route.tags?.[0] ?? "Routes";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(entry(book, path, verb, route, routes.parameters ?? []));
      count += 1;
    }
  }
  find("note").textContent = plural(count, "route");
  find("routes").replaceChildren(...[...groups].map(([name, entries]) =>
    el("section", { class: "routes" }, el("h2", {}, name), entries)));
  find("find").addEventListener("input", (event) => narrow(event.target.value.trim().toLowerCase()));
  // A link to #post-/v1/classify opens it.
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
  }
}

function narrow(word) {
  let count = 0;
  for (const section of find("routes").children) {
    const entries = [...section.querySelectorAll(":scope > details")];
    for (const one of entries) one.hidden = !one.firstElementChild.textContent.toLowerCase().includes(word);
    const left = entries.filter((one) => !one.hidden).length;
    section.hidden = left === 0;
    count += left;
  }
  find("note").textContent = plural(count, "route");
}

function entry(book, path, verb, route, shared) {
  const details = el("details", { id: `${verb}-${path}` },
    el("summary", {}, el("span", { class: "verb" }, verb.toUpperCase()), el("code", {}, path), el("span", {}, route.summary ?? "")));
  // Most are never opened.
  details.addEventListener("toggle", () => details.append(about(book, path, verb, route, shared)), { once: true });
  return details;
}

function about(book, path, verb, route, shared) {
  const parts = [];
  if (route.description && route.description !== route.summary) parts.push(el("p", {}, route.description));
  const parameters = [...shared, ...(route.parameters ?? [])].map((one) => follow(book, one));
  if (parameters.length > 0) parts.push(el("h3", {}, "Parameters"), fields(parameters.map((one) =>
    [one.name, `${shape(book, one.schema ?? {})}, in the ${one.in}`, one.required, one.description])));
  const content = follow(book, route.requestBody ?? {}).content?.["application/json"];
  const schema = content && follow(book, content.schema ?? {});
  if (schema?.properties) {
    parts.push(el("h3", {}, "Request"), fields(Object.entries(schema.properties).map(([name, one]) =>
      [name, shape(book, one), schema.required?.includes(name), one.description ?? follow(book, one).description, one.default, shape(book, one, 0, true)])));
  } else if (schema) {
    parts.push(el("h3", {}, "Request"), el("pre", { tabindex: "0" }, shape(book, schema, 0, true)));
  }
  const body = content?.example ?? Object.values(content?.examples ?? {})[0]?.value ?? sample(book, schema ?? {});
  // A path with a gap in it is no command.
  if ((verb === "get" || body) && !path.includes("{")) parts.push(...command(path, body));
  parts.push(el("h3", {}, "Answers"), ...Object.entries(route.responses ?? {}).map(([status, one]) => reply(book, status, follow(book, one))));
  return el("div", { class: "about" }, parts);
}

function command(path, body) {
  const text = curl(path.replace(/^\//, ""), body);
  return [el("h3", {}, "Example"),
    el("div", { class: "command" }, el("pre", { tabindex: "0" }, text), copyButton("Copy", () => text, { "aria-label": "Copy the command" }))];
}

function reply(book, status, response) {
  const content = response.content?.["application/json"];
  const head = el("p", {}, el("code", {}, status), ` ${response.description ?? ""}`);
  if (!content) return head;
  const text = content.example
    ? JSON.stringify(content.example, null, 2)
    : shape(book, content.schema ?? {}, 0, true);
  return el("div", {}, head, text.includes("\n") ? el("pre", { tabindex: "0" }, text) : null);
}

/// A value as the schema's examples say; of an object what is required, and undefined where that
/// has no example.
function sample(book, schema, depth = 0) {
  const one = follow(book, schema);
  const said = schema.example ?? schema.examples?.[0] ?? one.example ?? one.examples?.[0];
  if (said !== undefined || depth > DEPTH_MAX) return said;
  const either = one.oneOf ?? one.anyOf;
  if (either) return either.map((part) => sample(book, part, depth + 1)).find((value) => value !== undefined);
  if (one.items) {
    const item = sample(book, one.items, depth + 1);
    return item === undefined ? undefined : [item];
  }
  if (!one.properties) return undefined;
  const entries = (one.required ?? []).map((name) => [name, sample(book, one.properties[name] ?? {}, depth + 1)]);
  return entries.every(([, value]) => value !== undefined) ? Object.fromEntries(entries) : undefined;
}

function fields(rows) {
  const row = ([name, kind, required, words, otherwise, inside = ""]) => el("div", {},
    el("dt", {}, el("code", {}, name), " ", el("span", { class: "hint" }, kind, required ? ", required" : "", otherwise === undefined ? "" : `, else ${JSON.stringify(otherwise)}`)),
    words ? el("dd", {}, words) : null,
    inside.includes("\n") ? el("dd", {}, el("pre", { tabindex: "0" }, inside)) : null);
  return el("dl", { class: "schema" }, rows.map(row));
}

/// The object that a reference stands for.
function follow(book, object) {
  let at = object;
  for (let step = 0; at?.$ref && step < 16; step += 1) {
    const parts = at.$ref.replace(/^#\//, "").split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    at = parts.reduce((node, part) => node?.[part], book);
  }
  return at ?? {};
}

/// A schema as a short type: `string`, `[number]`, `string or [string]`; objects over several lines
/// if `open`, else by their name.
function shape(book, schema, depth = 0, open = false) {
  const name = schema.$ref?.split("/").pop();
  const one = follow(book, schema);
  const either = one.oneOf ?? one.anyOf;
  if (either) return [...new Set(either.map((part) => shape(book, part, depth, open)))].join(" or ");
  if (one.allOf?.length === 1) return shape(book, one.allOf[0], depth, open);
  if (one.enum) return one.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (one.const !== undefined) return JSON.stringify(one.const);
  const kinds = [one.type ?? (one.properties ? "object" : "any")].flat();
  return kinds.map((kind) => {
    if (kind === "array") return `[${shape(book, one.items ?? {}, depth, open)}]`;
    if (kind !== "object") return kind;
    if (!open || depth >= DEPTH_MAX) return name ?? "object";
    return object(book, one, depth);
  }).join(" or ");
}

function object(book, schema, depth) {
  const indent = "  ".repeat(depth + 1);
  const rows = Object.entries(schema.properties ?? {}).map(([key, value]) => {
    const optional = schema.required?.includes(key) ? "" : "?";
    return `${indent}${key}${optional}: ${shape(book, value, depth + 1, true)}`;
  });
  if (schema.additionalProperties && typeof schema.additionalProperties === "object") {
    rows.push(`${indent}[name]: ${shape(book, schema.additionalProperties, depth + 1, true)}`);
  }
  return rows.length === 0 ? "object" : `{\n${rows.join("\n")}\n${"  ".repeat(depth)}}`;
}

start();
