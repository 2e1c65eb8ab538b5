// Pictures that are there more than once: a group a row, what differs in words, two beside each other, decisions.
// Nothing here deletes a picture: the outcome is a list, or a move that is taken back.

import { address, call, get, post, thumbnail } from "./api.js";
import { $, button, closing, count, dialog, download, later, make, named, say, several, trouble } from "./dom.js";
import { made, old } from "./making.js";
import { may } from "./selection.js";
import * as state from "./state.js";
import { zooming } from "./zoom.js";

const KINDS = { exact: "the same bytes", near: "nearly the same", similar: "merely similar" };
const PAGE = 30;
const LEAST = 0.5; // the service takes none below that
const USUAL = 0.95;

let turn = 0; // whatever began before the last one shows nothing any more
let shown = null; // {answer, groups}
let chosen = { kind: "", rule: "largest", score: "" };
let key = ""; // of the address that is drawn
let held = null; // which field somebody is at who says how alike: they may go on there
let own = new Map(); // decisions of who may not write, by id

export function leave() { turn++; key = ""; }

export async function draw(s, about) {
  const now = JSON.stringify([s.index, s.rule, s.kind, s.score]);
  if (now === key) return;
  key = now;
  chosen = { kind: s.kind, rule: s.rule || "largest", score: scoreOf(s.score) };
  const mine = ++turn;
  const alive = () => mine === turn;
  held = document.activeElement?.closest?.("#likeness") ? document.activeElement.type : null;
  own = may ? new Map() : new Map(JSON.parse(sessionStorage.getItem(place(about)) || "[]"));
  $("#results").replaceChildren(make("div", { class: "skeleton", style: { height: "336px" } }));
  await show(about, alive);
}

// As the service keeps it: in hundredths; nothing for the usual one.
const scoreOf = (text) => {
  const score = Math.round(100 * Number(text)) / 100;
  return text === "" || !(score >= LEAST && score <= 1) || score === USUAL ? "" : String(score);
};
const asked = () => ({ rule: chosen.rule, ...(chosen.score ? { score: Number(chosen.score) } : {}) });

const place = (about) => `retrieval decisions ${about.name}`;
const bytes = (size) => (size >= 1e9 ? `${(size / 1e9).toFixed(1)} GB` : size >= 1e6 ? `${(size / 1e6).toFixed(1)} MB` : `${Math.ceil(size / 1e3)} kB`);
const decisionOf = (item) => (may ? item.decided : own.get(item.id)) || null;

async function show(about, alive) {
  const ask = () => get("/duplicates", { ...asked(), kind: chosen.kind, k: PAGE });
  const answer = await made(ask, alive, "Looking for duplicates.");
  if (!answer) { if (alive()) key = ""; return; }
  shown = { answer, groups: answer.groups, about, alive, cursor: answer.cursor };
  const { total } = answer;
  const { all } = total;
  const tab = (kind, text, n) => make("button", { "aria-pressed": chosen.kind === kind, disabled: !n && kind !== "", onclick: () => state.go({ kind }) }, `${text} ${count(n)}`);
  const rules = { largest: "the largest", oldest: "the oldest", ...Object.fromEntries(answer.folders.map((one) => [`folder:${one}`, `what is in ${one}`])) };
  const rule = make("select", { id: "rule", "aria-label": "Which of a group stays", onchange: () => state.go({ rule: rule.value === "largest" ? "" : rule.value }) },
    Object.entries(rules).map(([value, text]) => make("option", { value, selected: value === chosen.rule }, text)));
  const list = make("div", { id: "groups" });
  const more = make("button", { hidden: !shown.cursor, onclick: () => next(list, more) }, "more groups");
  $("#results").replaceChildren(
    make("div", { class: "head" }, make("h1", { id: "count" }, all ? `${several(all, "group")} of pictures that show the same` : "No picture is here twice."),
      tab("", "all", all), ...Object.entries(KINDS).map(([kind, text]) => tab(kind, text, total[kind]))),
    make("div", { class: "row" }, ...(all ? [make("label", { class: "row quiet" }, "of each group stays ", rule),
      make("button", { id: "bulk", onclick: bulk }, "decide all by this rule …")] : []), likeness()),
    list, more, make("p", { class: "quiet" }, old(answer) + answer.notes.join(" ")), make("div", { id: "outcome", role: "region", "aria-label": "What is decided" }));
  list.append(...shown.groups.map(row));
  if (held && document.activeElement === document.body) $(`#likeness [type=${held}]`).focus();
  held = null;
  list.addEventListener("keydown", keyed);
  outcome();
  say($("#count").textContent);
}

// From which score pictures are merely similar; another one has all of them looked at again, so it waits for a rest.
function likeness() {
  const value = chosen.score || String(USUAL);
  const field = (type, name) => make("input", { type, min: String(LEAST), max: "1", step: "0.01", value, "aria-label": name });
  const slider = field("range", "Merely similar from this score on");
  const number = field("number", "Merely similar from this score on, as a number");
  const go = later(700, () => {
    const score = scoreOf(number.value);
    if (score !== chosen.score && number.isConnected) state.go({ score });
  });
  slider.addEventListener("input", () => { number.value = slider.value; go(); });
  number.addEventListener("input", () => { if (number.validity.valid && number.value) { slider.value = number.value; go(); } });
  number.addEventListener("change", () => { if (!number.validity.valid || !number.value) number.value = value; });
  return make("span", { class: "row quiet", id: "likeness", role: "group", "aria-label": "How alike" }, "merely similar from a score of", slider, number);
}

async function next(list, more) {
  more.disabled = true;
  try {
    const of = shown;
    const answer = await get("/duplicates", { ...asked(), kind: chosen.kind, k: PAGE, cursor: of.cursor });
    if (of !== shown) return; // by another rule by now
    shown.cursor = answer.cursor;
    shown.groups.push(...answer.groups);
    list.append(...answer.groups.map(row));
  } catch (error) { trouble(error); }
  more.disabled = false;
  more.hidden = !shown.cursor;
}

async function again() {
  const mine = ++turn;
  await show(shown.about, () => mine === turn);
}

function row(group) {
  const line = make("section", { class: "copies", "aria-label": `${KINDS[group.kind]}: ${group.items[0].path}` });
  line.dataset.id = group.id;
  line.append(make("div", { class: "row quiet" }, make("span", { class: "kind" }, KINDS[group.kind]),
    button("side by side", () => beside(group, group.items[1])),
    group.items.some((item, place) => place && !item.stays) ? button("decide by the rule", () => byRule(group)) : null,
    make("button", { class: "plain", onclick: () => decide(Object.fromEntries(group.items.map((item) => [item.id, null]))) }, "take back")),
  make("div", { class: "members" }, group.items.map((item, place) => member(group, item, place))));
  return line;
}

function member(group, item, at) {
  const what = decisionOf(item);
  const open = () => beside(group, at ? item : group.items[1]);
  const image = make("img", { alt: "", loading: "lazy", src: thumbnail(item.id) });
  image.addEventListener("error", () => { image.replaceWith(make("span", { class: "quiet" }, "cannot be shown")); }, { once: true });
  const words = at ? item.difference : "could stay";
  const button = (sign, text) => make("button", { tabindex: "-1", "aria-pressed": what === sign, "aria-label": `${text}: ${item.path}`, onclick: () => decide({ [item.id]: what === sign ? null : sign }) }, text);
  const figure = make("figure", { class: `member${at ? "" : " first"}${what ? ` ${what}` : ""}` },
    make("button", { class: "picture", "aria-label": `${item.path}, ${words}${what ? what === "go" ? ", may go" : ", stays" : ""}`, onclick: open }, image),
    make("figcaption", {}, make("span", { class: "name", title: item.path }, named(item)),
      make("span", { class: "quiet" }, `${item.width} × ${item.height}, ${bytes(item.size)}`), make("span", { class: "quiet" }, words),
      item.stays ? make("span", { class: "quiet" }, `only shown: ${item.stays}`) : null,
      make("span", { class: "row" }, button("keep", "stays"), button("go", "may go"))));
  figure.dataset.id = item.id;
  return figure;
}

// Left and right within a row, up and down between rows; y and n decide.
function keyed(event) {
  const at = event.target.closest(".member");
  if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
  const pictures = [...document.querySelectorAll(".member .picture")];
  const here = pictures.indexOf(at.querySelector(".picture"));
  const rows = [...document.querySelectorAll(".copies")];
  const mine = rows.indexOf(at.closest(".copies"));
  const to = { ArrowRight: () => pictures[here + 1], ArrowLeft: () => pictures[here - 1], ArrowDown: () => rows[mine + 1]?.querySelector(".picture"), ArrowUp: () => rows[mine - 1]?.querySelector(".picture") }[event.key];
  if (to) {
    to()?.focus();
    event.preventDefault();
  } else if (event.key === "y" || event.key === "n") {
    const item = itemOf(Number(at.dataset.id));
    const sign = event.key === "y" ? "keep" : "go";
    decide({ [item.id]: decisionOf(item) === sign ? null : sign });
    event.preventDefault();
    event.stopPropagation();
  }
}

const itemOf = (id) => shown.groups.flatMap((group) => group.items).find((item) => item.id === id);

const byRule = (group) => decide(Object.fromEntries(group.items.filter((item, place) => !place || !item.stays).map((item, place) => [item.id, place ? "go" : "keep"])));

async function decide(decisions) {
  try {
    if (may) await post("/duplicates/decisions", { decisions });
  } catch (error) { return trouble(error); }
  for (const [id, what] of Object.entries(decisions)) {
    const item = itemOf(Number(id));
    if (may && item) {
      for (const sign of ["keep", "go"]) shown.answer.decided[sign] += (what === sign) - (item.decided === sign);
      item.decided = what;
    } else if (!may && what) own.set(Number(id), what);
    else own.delete(Number(id));
  }
  if (!may) sessionStorage.setItem(place(shown.about), JSON.stringify([...own]));
  redraw(new Set(Object.keys(decisions).map(Number)));
  say(Object.values(decisions).some(Boolean) ? "Decided" : "Taken back");
}

function redraw(ids) {
  const focused = document.activeElement?.closest?.(".member")?.dataset.id;
  const label = document.activeElement?.textContent;
  for (const group of shown.groups.filter((one) => one.items.some((item) => ids.has(item.id)))) $(`.copies[data-id="${group.id}"]`)?.replaceWith(row(group));
  const back = focused && $(`.member[data-id="${focused}"]`);
  if (back) ([...back.querySelectorAll("button")].find((one) => label && one.textContent === label) || back.querySelector(".picture")).focus();
  outcome();
}

// What would happen, with what has happened and can be taken back.
function outcome() {
  const { answer } = shown;
  const times = (sign) => (may ? answer.decided[sign] : [...own.values()].filter((one) => one === sign).length);
  const [go, keep] = [times("go"), times("keep")];
  const { allowed, undo } = answer.moves;
  $("#outcome").hidden = !go && !keep && !undo.length;
  $("#outcome").replaceChildren(make("strong", {}, `${count(go)} may go, ${count(keep)} stay`),
    ...(go || keep ? [button("list (CSV)", list), button("take all back", takeAllBack)] : []),
    ...(may && allowed && go ? [button("move …", move, "Out of the pictures' folder, with an undo file")] : []),
    ...(may && allowed && undo.length ? [button("undo the last move", undoMove)] : []),
    may ? "" : make("span", { class: "quiet" }, "kept in this browser; a writer's token keeps decisions in the index"));
}

async function list() {
  try {
    const answer = await call("POST", "/duplicates/list", { json: { ...asked(), ...(may ? {} : { decisions: Object.fromEntries(own) }) }, raw: true });
    download("duplicates.csv", await answer.blob());
  } catch (error) { trouble(error); }
}

async function takeAllBack() {
  try {
    if (may) await call("DELETE", "/duplicates/decisions");
    own.clear();
    sessionStorage.removeItem(place(shown.about));
    await again();
  } catch (error) { trouble(error); }
}

async function bulk() {
  const kinds = chosen.kind ? [chosen.kind] : ["exact", "near"];
  let told;
  try {
    told = await post("/duplicates/preview", { ...asked(), kinds });
  } catch (error) { return trouble(error); }
  const box = dialog("What this rule would decide",
    make("p", {}, told.go ? `In ${several(told.groups, "group")}: ${several(told.keep, "picture")} to stay, ${count(told.go)} may go, ${bytes(told.bytes)}. Nothing is moved or deleted by that.` : "Nothing: what is merely similar is not offered to go."),
    make("ul", { class: "quiet" }, told.some.map((path) => make("li", {}, path)), told.go > told.some.length ? make("li", {}, `and ${count(told.go - told.some.length)} more`) : null),
    make("div", { class: "row" },
      told.go ? make("button", { onclick: async () => {
        box.close();
        if (!may) return decide(told.decisions);
        try {
          await post("/duplicates/decisions", { ...asked(), kinds });
          await again();
        } catch (error) { trouble(error); }
      } }, "decide so") : null,
      closing("leave it")));
}

async function move() {
  let told;
  try {
    told = await post("/duplicates/move", { ...asked(), dry_run: true });
  } catch (error) { return trouble(error); }
  const stays = told.left.length ? make("details", {}, make("summary", {}, `${count(told.left.length)} stay where they are`), make("ul", { class: "quiet" }, told.left.slice(0, 50).map((one) => make("li", {}, `${one.path}: ${one.reason}`)))) : null;
  const box = dialog("Move what may go?", make("p", {}, `${several(told.moved.length, "picture")}, ${bytes(told.size)}, would be moved out of the pictures' folder, after an undo file is written. They can be moved back here.`),
    make("ul", { class: "quiet" }, told.moved.slice(0, 10).map((path) => make("li", {}, path))), stays,
    make("div", { class: "row" },
      told.moved.length ? make("button", { onclick: async () => {
        box.close();
        try {
          const done = await post("/duplicates/move", asked());
          say(`${several(done.moved.length, "picture")} moved`);
          await again();
        } catch (error) { trouble(error); }
      } }, "move them") : null,
      closing("leave it")));
}

async function undoMove() {
  try {
    const done = await post("/duplicates/undo", { undo: shown.answer.moves.undo[0] });
    say(`${several(done.back.length, "file")} moved back`);
    await again();
  } catch (error) { trouble(error); }
}

// Two at full size, zoom and place tied; or the one laid over the other, so that only what differs is light.
function beside(group, other) {
  const back = document.activeElement;
  const first = group.items[0];
  const others = group.items.slice(1);
  const box = make("dialog", { class: "large", "aria-label": "Side by side" });
  let [blended, right] = [false, other];
  const pair = make("div");
  const zoom = zooming(pair, 32);
  const picture = (item) => {
    const image = make("img", { alt: item.path, src: thumbnail(item.id, 2048), draggable: false });
    const whole = new Image();
    whole.addEventListener("load", () => { image.src = whole.src; });
    whole.src = address(`/items/${item.id}/image`);
    return image;
  };
  const button = (text, title, job, pressed) => make("button", { title, "aria-label": title, "aria-pressed": pressed, onclick: job }, text);
  const side = (item, words) => {
    const what = decisionOf(item);
    const said = (sign, text) => button(text, `${text}: ${item.path}`, async () => { await decide({ [item.id]: what === sign ? null : sign }); fill(); }, what === sign);
    return make("div", { class: "under" }, make("strong", {}, item.path), make("span", {}, `${item.width} × ${item.height}, ${bytes(item.size)}`), make("span", {}, words), make("span", { class: "row" }, said("keep", "stays"), said("go", "may go")));
  };
  const fill = () => {
    pair.className = blended ? "pair blended" : "pair";
    pair.replaceChildren(make("div", { class: "stage" }, picture(first), blended ? picture(right) : ""), blended ? "" : make("div", { class: "stage" }, picture(right)));
    const at = others.indexOf(right);
    box.replaceChildren(
      make("div", { class: "row tools" }, button("✕", "Back", () => box.close()), button("−", "Smaller", () => zoom(1 / 1.3)), button("+", "Larger", () => zoom(1.3)),
        button("difference", "Lay one over the other: what differs is light", () => { blended = !blended; fill(); }, blended),
        others.length > 1 ? [button("‹", "The copy before", () => step(-1)), make("span", {}, `${at + 1} of ${others.length}`), button("›", "The next copy", () => step(1))] : null),
      pair, make("div", { class: "sides" }, side(first, "could stay"), side(right, right.difference || "")));
    zoom(1);
  };
  const step = (way) => { right = others[(others.indexOf(right) + way + others.length) % others.length]; fill(); box.focus(); };
  box.addEventListener("keydown", (event) => {
    const pan = { ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") step(event.key === "ArrowRight" ? 1 : -1);
    else if (pan) zoom(1, ...pan);
    else if (event.key === "+") zoom(1.3);
    else if (event.key === "-") zoom(1 / 1.3);
    else if (event.key === "d") { blended = !blended; fill(); box.focus(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  box.addEventListener("close", () => { box.remove(); (back?.isConnected ? back : $(`.member[data-id="${right.id}"] .picture`))?.focus({ preventScroll: true }); });
  document.body.append(box);
  box.showModal();
  fill();
  box.focus();
}
