// The page: one state, which is the address, drawn by the part of the page that it names.

import { call, get, on, post, use } from "./api.js";
import { $, banner, button, count, dialog, make, say, several } from "./dom.js";
import * as keys from "./keys.js";
import * as large from "./large.js";
import * as query from "./query.js";
import * as results from "./results.js";
import * as selection from "./selection.js";
import * as state from "./state.js";

const VIEWS = { search: "Search", duplicates: "Duplicates", errors: "Label errors", map: "Map", compare: "Compare" };
const LOADED = { duplicates: () => import("./duplicates.js"), errors: () => import("./errors.js"), map: () => import("./map.js"), compare: () => import("./compare.js") };
const POLL = 15000;
const SOON = 1000; // while a collection is being built

let info = { indexes: [] };
let view = null; // the part of the page that is shown, where it is not the search
let can = {}; // what one may do
const about = () => info.indexes.find((one) => one.name === state.now.index) || info.indexes[0] || { attributes: {} };

async function learn() {
  info = await get("/info", {}, { of: null });
  can = await get("/session", {}, { of: null });
  selection.allow(can.write);
}

function drawBar() {
  const select = $("#index");
  select.replaceChildren(...info.indexes.map((one) => make("option", { value: one.name, selected: one === about() }, one.name)));
  $("#views").replaceChildren(...Object.entries(VIEWS).filter(([name]) => name !== "compare" || info.indexes.length > 1).map(([name, text]) =>
    make("a", { href: state.write({ ...state.now, item: "", view: name }), "aria-current": state.now.view === name ? "page" : null, onclick: (event) => {
      if (event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      state.go({ view: name, item: "", rest: false });
    } }, text)), can.tokens ? make("button", { class: "plain", onclick: token }, "token") : "",
  make("button", { class: "plain", title: "Keys", "aria-label": "Keys", onclick: keys.help }, "?"));
  $("#views [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  $("#title").textContent = `${VIEWS[state.now.view] || "Search"} in ${about().name || "retrieval"}`;
  document.title = `${about().name || "retrieval"} · retrieval`;
}

async function draw(now, before, again = false) {
  use(about().name);
  if (!now.item) large.close(); // one went back
  if (before && (now.index || "") !== (before.index || "")) {
    results.forget(about().name);
    selection.drop(); // ids are of one collection
  }
  drawBar();
  query.draw(now, about());
  if (now.view === "search") {
    view?.leave?.();
    view = null;
    if (!about().items && about().building) return building();
    if (!about().items) return empty();
    await results.draw(now, about(), again || (before && before.view !== "search"));
    if (state.now.item && !large.isOpen()) await openItem(state.now.item);
    return;
  }
  $("#facets").hidden = $("#narrow").hidden = true;
  if (!Object.hasOwn(LOADED, now.view)) return state.go({ view: "search" }, { replace: true });
  const loaded = await LOADED[now.view]();
  if (state.now.view !== now.view) return;
  if (view && view !== loaded) view.leave?.();
  view = loaded;
  results.forget(about().name);
  await loaded.draw(now, about(), info);
}

async function openItem(id) {
  try {
    const item = results.shown().find((one) => String(one.id) === id) || await get(`/items/${id}`);
    if (state.now.item === id) large.open(item, results.shown(), results.actions);
  } catch { /* it is gone since */ }
}

function empty() {
  $("#results").replaceChildren(make("p", { class: "nothing" }, "There is no picture in this collection yet."));
}

function building() {
  const { done, of, error } = about().building;
  const text = of ? `${count(done)} of ${count(of)} pictures` : "looking for pictures";
  $("#results").replaceChildren(make("div", { class: "nothing" }, ...(error ? [make("p", {}, error), make("p", {}, "Pictures that are put there appear here by themselves.")]
    : [make("p", {}, `This collection is being built: ${text}.`), make("progress", { max: of || 1, value: of ? done : null, "aria-label": "Progress" })])));
}

// Somebody writes: what is new is offered, and nothing moves under the eye.
let polling = 0;
async function poll() {
  clearTimeout(polling);
  polling = setTimeout(poll, about().building ? SOON : POLL);
  if (document.hidden) return;
  const before = about();
  try {
    info = await get("/info", {}, { of: null });
  } catch {
    return;
  }
  const now = about();
  if (now.building) {
    if (!now.items) return state.now.view === "search" ? building() : undefined;
  }
  if (!before.items && now.items) return draw(state.now, null, true);
  if (results.generation() !== undefined && now.generation !== results.generation() && state.now.view === "search") {
    const more = now.items - before.items;
    banner(more > 0 ? several(more, "new picture") : "The collection has changed",
      button("show", () => { banner(""); draw(state.now, null, true); }));
  }
}

function token() {
  if (document.querySelector("dialog[open]")) return;
  const input = make("input", { type: "password", "aria-label": "Token", autocomplete: "current-password", required: true });
  const wrong = make("p", { role: "alert", class: "wrong" });
  const box = dialog(can.read ? "Token" : "A token is needed", make("form", { onsubmit: async (event) => {
    event.preventDefault();
    try {
      await post("/session", { token: input.value }, { of: null });
      location.reload();
    } catch (error) {
      wrong.textContent = error.message;
    }
  } }, make("p", {}, can.read ? `You may ${can.write ? "read and write" : "read"}; another token is taken here.` : "Whoever runs this service has it."),
  make("div", { class: "row" }, input, make("button", {}, "open"), can.read ? button("forget mine", () => call("DELETE", "/session").finally(() => location.reload())) : null), wrong));
  if (!can.read) box.addEventListener("close", token); // there is nothing behind it
}

async function start() {
  try {
    await learn();
  } catch (error) {
    if (error.status !== 401) banner(error.message);
    return;
  }
  banner("");
  await draw(state.now, null);
}

on("token", token);
on("gone", () => banner("The server does not answer. What is shown is kept; this page tries again by itself."));
on("back", () => { banner(""); say("The server is back"); start().then(results.goOn); });
state.watch((now, before) => draw(now, before));
document.addEventListener("selection", () => document.querySelectorAll("#results .tile").forEach((tile) => tile.classList.toggle("picked", selection.picked.has(Number(tile.dataset.id)))));
document.addEventListener("written", () => learn().then(() => draw(state.now, null, true), () => {}));
addEventListener("popstate", () => document.querySelectorAll("dialog:not([aria-label=Picture])").forEach((box) => box.close()));
$("#index").addEventListener("change", (event) => state.go({ ...state.fresh, where: "", sort: "", group: "", index: event.target.value }));
query.listen();
keys.listen();
start();
polling = setTimeout(poll, SOON);
addEventListener("focus", poll);
