// Labels that the neighbours of a picture speak against: each is kept, or corrected.

import { call, get, thumbnail } from "./api.js";
import { $, button, count, csv, download, make, named, say, trouble } from "./dom.js";
import { made, old } from "./making.js";
import * as results from "./results.js";
import * as large from "./large.js";
import { may } from "./selection.js";
import * as state from "./state.js";

const PAGE = 20;

let turn = 0;
let drawn = ""; // the address that is
let about = null;
let decidedOnes = false;
let total = { open: 0, decided: 0 };
let own = new Map(); // id → {path, label} of who may not write

export function leave() { turn++; drawn = ""; }

const key = () => `retrieval labels ${about.name}`;

export async function draw(s, of) {
  const now = JSON.stringify([s.index, s.kind]);
  if (now === drawn) return;
  drawn = now;
  decidedOnes = s.kind === "decided";
  about = of;
  own = may ? new Map() : new Map(JSON.parse(sessionStorage.getItem(key()) || "[]"));
  $("#results").replaceChildren(make("div", { class: "skeleton", style: { height: "336px" } }));
  await show();
}

async function show() {
  const mine = ++turn;
  const answer = await made(() => get("/label-errors", { k: PAGE, decided: may && decidedOnes }), () => mine === turn, "Looking for labels that are wrong.");
  if (!answer) { if (mine === turn) drawn = ""; return; }
  total = may ? answer.total : { open: answer.total.open - own.size, decided: own.size };
  const tab = (which) => make("button", { id: which ? "decided" : "open", "aria-pressed": decidedOnes === which, onclick: () => state.go({ kind: which ? "decided" : "" }) });
  const list = make("div", { id: "suspects" });
  let { cursor } = answer;
  const more = make("button", { id: "more", hidden: !cursor, onclick: async () => {
    const from = may ? list.children.length : cursor; // what was decided here is none of these any more
    try {
      const next = await get("/label-errors", { k: PAGE, cursor: from, decided: may && decidedOnes });
      cursor = next.cursor;
      more.hidden = !cursor;
      list.append(...wanted(next.items).map(row));
    } catch (error) { trouble(error); }
  } }, "more");
  $("#results").replaceChildren(
    make("div", { class: "head" }, make("h1", { id: "count" }), tab(false), tab(true)),
    make("p", { class: "quiet" }, old(answer) + answer.sentence),
    make("datalist", { id: "labels" }, answer.labels.map((label) => make("option", { value: label }))), list, more,
    make("div", { id: "outcome", role: "region", "aria-label": "What is decided" }));
  list.append(...wanted(answer.items).map(row));
  list.addEventListener("keydown", keyed);
  counted();
  say($("#count").textContent);
}

function counted() {
  $("#count").textContent = total.open + total.decided ? `${count(total.open)} ${total.open === 1 ? "label" : "labels"} to look at` : "No label is suspect.";
  $("#open").textContent = `open ${count(total.open)}`;
  $("#decided").textContent = `decided ${count(total.decided)}`;
  outcome();
}

const wanted = (items) => (may ? items : items.filter((one) => own.has(one.id) === decidedOnes));

function row(one) {
  const { item } = one;
  const said = may ? one.decided : own.get(one.id)?.label;
  const input = make("input", { "aria-label": `Another label for ${item.path}`, placeholder: "another label", autocomplete: "off" });
  input.setAttribute("list", "labels");
  const set = (label) => decide(one, label);
  const open = (which) => large.open(which, [item, ...one.neighbours], results.actions);
  const small = (which) => make("button", { class: "picture", tabindex: "-1", "aria-label": `${which.path}, ${which.label || "no label"}`, onclick: () => open(which) }, make("img", { alt: "", loading: "lazy", src: thumbnail(which.id) }));
  const line = make("section", { class: "suspect", "aria-label": `${item.path}: ${one.label}, or ${one.suggested}?` },
    make("figure", { class: "member" }, make("button", { class: "picture", "aria-label": `${item.path}, labelled ${one.label}; ${one.agree} of ${one.votes} neighbours are ${one.suggested}`, onclick: () => open(item) }, make("img", { alt: "", loading: "lazy", src: thumbnail(item.id) })),
      make("figcaption", {}, make("span", { class: "name", title: item.path }, named(item)), make("span", {}, "labelled ", make("strong", {}, one.label)))),
    make("div", { class: "says" },
      make("p", {}, `${one.agree} of ${one.votes} neighbours are `, make("strong", {}, one.suggested), make("span", { class: "quiet" }, ` · ${one.score.toFixed(2)}`)),
      make("div", { class: "near" }, one.neighbours.slice(0, 10).map(small)),
      said ? make("div", { class: "row" }, make("span", {}, said === one.label ? `✓ stays ${said}` : `✎ is ${said}`), button("take back", () => set(null)))
        : make("div", { class: "row" }, make("button", { class: "relabel", onclick: () => set(one.suggested) }, `it is ${one.suggested}`),
          make("button", { class: "keep", onclick: () => set(one.label) }, `it is ${one.label}`),
          make("form", { class: "row", onsubmit: (event) => { event.preventDefault(); if (input.value.trim()) set(input.value.trim()); } }, input, make("button", {}, "set")))));
  line.dataset.id = one.id;
  return line;
}

// Up and down from one to the next, Enter takes the neighbours' word, space the label's.
function keyed(event) {
  const line = event.target.closest(".suspect");
  if (!line || event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  const lines = [...document.querySelectorAll(".suspect")];
  const to = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const onPicture = event.target.matches(".member > .picture");
  if (to) lines[lines.indexOf(line) + to]?.querySelector(".picture").focus();
  else if (event.key === "y" && onPicture) line.querySelector(".keep")?.click();
  else if (event.key === "n" && onPicture) line.querySelector(".relabel")?.click();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

async function decide(one, label) {
  if (may) {
    try {
      await call("PATCH", `/items/${one.id}`, { json: { label_corrected: label } });
    } catch (error) {
      return trouble(error);
    }
  } else {
    if (label) own.set(one.id, { path: one.item.path, label });
    else own.delete(one.id);
    sessionStorage.setItem(key(), JSON.stringify([...own]));
  }
  const lines = [...document.querySelectorAll(".suspect")];
  const at = lines.findIndex((line) => line.dataset.id === String(one.id));
  lines[at]?.remove();
  if (lines.length === 1 && !$("#more").hidden) $("#more").click();
  total = { open: total.open + (label ? -1 : 1), decided: total.decided + (label ? 1 : -1) };
  counted();
  ((lines[at + 1] || lines[at - 1])?.querySelector(".picture") || $("#results")).focus();
  say(label ? `${named(one.item)}: ${label}` : "Taken back");
}

function outcome() {
  $("#outcome").hidden = !total.decided;
  $("#outcome").replaceChildren(make("strong", {}, `${count(total.decided)} decided`),
    button("list for attach (CSV)", () => list("label_corrected"), "retrieval attach INDEX FILE"), button("list of labels (CSV)", () => list("label"), "retrieval build --labels FILE"),
    may ? "" : make("span", { class: "quiet" }, "kept in this browser; a writer's token keeps decisions in the index"));
}

async function list(column) {
  let rows = [...own.values()].map((one) => [one.path, one.label]);
  if (may) {
    rows = [];
    let cursor = 0;
    try {
      while (cursor !== null) {
        const answer = await get("/label-errors", { decided: true, k: 200, cursor: cursor || null });
        rows.push(...answer.items.map((one) => [one.item.path, one.decided]));
        cursor = answer.cursor;
      }
    } catch (error) { return trouble(error); }
  }
  download(`${column}.csv`, csv(`path,${column}`, rows), "text/csv");
}
