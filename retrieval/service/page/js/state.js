// What is shown, which is what stands in the address: back and forward work, and an address can be sent to somebody.

import { root } from "./api.js";

const LISTS = ["like", "unlike", "right", "wrong"];
const WORDS = ["view", "where", "sort", "group", "words", "with", "item", "rule", "score", "kind", "by"];
const OF = { rule: ["duplicates"], score: ["duplicates"], kind: ["duplicates", "errors"], by: ["map"], with: ["compare"] }; // other views have no use for them
const FLAGS = ["rest", "marked", "diverse"];

let listeners = [];
export const watch = (listener) => { listeners.push(listener); };

export function read(place = location) {
  const asked = new URLSearchParams(place.search);
  const named = place.pathname.slice(root.length).match(/^\/i\/([^/]+)/);
  const state = { index: named ? decodeURIComponent(named[1]) : null };
  for (const name of LISTS) state[name] = asked.getAll(name);
  for (const name of WORDS) state[name] = asked.get(name) || "";
  for (const name of FLAGS) state[name] = asked.has(name);
  state.view = state.view || "search";
  return state;
}

export function write(state) {
  const asked = new URLSearchParams();
  for (const name of LISTS) for (const value of state[name]) asked.append(name, value);
  for (const name of WORDS) if (state[name] && !(name === "view" && state[name] === "search") && (OF[name]?.includes(state.view) ?? true)) asked.set(name, state[name]);
  for (const name of FLAGS) if (state[name]) asked.set(name, "1");
  // An address is read by people: what needs no escape has none.
  const text = asked.toString().replace(/%3A/g, ":").replace(/%2C/g, ",").replace(/%2F/g, "/").replace(/%40/g, "@")
    .replace(/%3E/g, ">").replace(/%3C/g, "<");
  return root + (state.index ? "/i/" + encodeURIComponent(state.index) : "/") + (text ? "?" + text : "");
}

export let now = read();

export function go(change, { replace = false } = {}) {
  const before = now;
  now = { ...now, ...change };
  const to = write(now);
  if (to !== location.pathname + location.search) {
    if (replace) history.replaceState(history.state, "", to);
    else history.pushState((history.state || 0) + 1, "", to);
  }
  for (const listener of listeners) listener(now, before);
}

// To what there was before on this page; never to another one.
export function back() {
  if (history.state) history.back();
  else go({ ...fresh, where: now.where }, { replace: true });
}

addEventListener("popstate", () => {
  const before = now;
  now = read();
  for (const listener of listeners) listener(now, before);
});

export const fresh = { like: [], unlike: [], right: [], wrong: [], marked: false, rest: false, item: "", words: "", view: "search" };

// A part of the question: "17", "17#10%,20%,30%,40%@0.5", "upload:SHA256", "text:a red dog", "path:a/b.jpg".
export function part(text) {
  let rest = text;
  let weight = 1;
  let box = null;
  const weighs = rest.match(/@([0-9.]+)$/);
  if (weighs) { weight = Number(weighs[1]); rest = rest.slice(0, weighs.index); }
  const cut = rest.match(/#([0-9.]+%),([0-9.]+%),([0-9.]+%),([0-9.]+%)$/);
  if (cut) { box = cut.slice(1, 5).map((one) => parseFloat(one)); rest = rest.slice(0, cut.index); }
  const id = /^(id:)?[0-9]+$/.test(rest) ? Number(rest.replace("id:", "")) : null;
  return { text, what: rest, id, weight, box };
}

export function spell({ what, id, weight, box }) {
  const cut = box ? "#" + box.map((one) => `${Math.round(one * 100) / 100}%`).join(",") : "";
  return (id === null ? what : String(id)) + cut + (weight === 1 ? "" : `@${weight}`);
}

// What the service takes: ids with their prefix.
export const asPart = (text) => {
  const one = part(text);
  return spell({ ...one, what: one.id === null ? one.what : `id:${one.id}`, id: null });
};
