// The same question put to two indexes, side by side; what only one of them found has an edge and says so.

import { get, post } from "./api.js";
import { $, count, make, say } from "./dom.js";
import * as large from "./large.js";
import * as results from "./results.js";
import * as state from "./state.js";
import { Grid, move } from "./tiles.js";

const HITS = 50;
const AT = [5, 10, 20, 50];

let turn = 0;
let drawn = "";
export function leave() { turn++; drawn = ""; }

export async function draw(s, about, info) {
  const now = JSON.stringify({ ...s, item: "" });
  if (now === drawn) return;
  drawn = now;
  const mine = ++turn;
  const alive = () => mine === turn;
  const others = info.indexes.filter((one) => one.name !== about.name);
  const place = $("#results");
  if (!others.length) return place.replaceChildren(make("p", { class: "nothing" }, "There is one index here; start the service with two to compare them."));
  const other = others.find((one) => one.name === s.with) || others[0];
  const choose = make("select", { id: "with", "aria-label": "Compared with", onchange: () => state.go({ with: choose.value }) }, others.map((one) => make("option", { value: one.name, selected: one === other }, one.name)));
  const title = make("h1", { id: "count" }, "…");
  const head = make("div", { class: "head" }, title, make("label", { class: "row quiet" }, `${about.name} and `, choose));
  const figures = make("div", { id: "figures" });
  const body = make("div", {});
  place.replaceChildren(head, figures, body);
  place.onkeydown = (event) => {
    if (state.now.view === "compare" && /^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key) && !event.target.matches("select, input") && move(event.key)) event.preventDefault();
  };
  measured(figures, about, other, alive);
  if (!results.asks(s, about)) return ask(title, body, s, alive);
  let answers;
  try {
    const question = { ...results.question(s, about), k: HITS };
    const there = await translated(question);
    answers = await Promise.all([post("/search", question), post("/search", there, { of: other.name })]);
  } catch (error) {
    if (alive()) { drawn = ""; title.textContent = "Not answered"; body.replaceChildren(make("p", { class: "nothing", role: "alert" }, error.message)); }
    return;
  }
  if (!alive()) return;
  const paths = answers.map((answer) => new Set(answer.hits.map((hit) => hit.path)));
  const both = [...paths[0]].filter((path) => paths[1].has(path)).length;
  title.textContent = `${count(both)} of ${count(Math.max(paths[0].size, paths[1].size))} found by both`;
  const overlaps = AT.filter((k) => k <= Math.max(...answers.map((answer) => answer.hits.length))).map((k) => {
    const [first, second] = answers.map((answer) => answer.hits.slice(0, k).map((hit) => hit.path));
    return `overlap@${k} ${(first.filter((path) => second.includes(path)).length / Math.max(first.length, second.length)).toFixed(2)}`;
  });
  const columns = answers.map((answer, side) => {
    const grid = make("div", { class: "grid" });
    const of = side ? other.name : about.name;
    const fold = answer.fold?.sentence || "";
    return { grid, of, answer, side, column: make("section", { class: "column", "aria-label": of }, make("h2", {}, of), make("p", { class: "quiet" }, fold), grid) };
  });
  body.replaceChildren(make("p", { class: "quiet", id: "overlap" }, overlaps.join(" · ")), make("div", { class: "columns" }, columns.map((one) => one.column)));
  for (const { grid, of, answer, side } of columns) {
    const more = (item) => state.go({ like: [side ? `path:${item.path}` : String(item.id)], unlike: [] });
    const items = answer.hits;
    new Grid(grid, {
      of, more, open: side ? more : (item) => large.open(item, items, results.actions),
      dress: (tile, item) => {
        if (paths[1 - side].has(item.path) || tile.classList.contains("only")) return;
        tile.classList.add("only");
        tile.append(make("span", { class: "dot only", title: `only ${of} found it` }, "only"));
        const link = tile.querySelector("a");
        link.setAttribute("aria-label", `${link.getAttribute("aria-label")}, only ${of} found it`);
      },
    }).add(items);
  }
  say(title.textContent);
}

// Ids mean nothing in the other index; paths do.
async function translated(question) {
  const known = new Map();
  const one = async (text) => {
    const found = text.match(/^id:([0-9]+)(.*)$/s);
    if (!found) return text;
    if (!known.has(found[1])) known.set(found[1], (await get(`/items/${found[1]}`)).path);
    const path = known.get(found[1]);
    return `path:${path}${found[2] || (/[@#]/.test(path) ? "#0%,0%,100%,100%" : "")}`;
  };
  const all = (list) => Promise.all(list.map(one));
  return { ...question, like: await all(question.like), unlike: await all(question.unlike) };
}

async function ask(title, body, s, alive) {
  title.textContent = "Choose a picture to put to both, or ask in the bar";
  try {
    const wall = await get("/wall", { k: 40 });
    if (!alive()) return;
    const grid = make("div", { class: "grid" });
    body.replaceChildren(grid);
    const more = (item) => state.go({ like: [String(item.id)] });
    new Grid(grid, { more, open: more }).add(wall.items);
  } catch (error) {
    if (alive()) body.replaceChildren(make("p", { class: "nothing", role: "alert" }, error.message));
  }
}

// The figures of both, query by query, where they were measured and kept.
async function measured(place, about, other, alive) {
  let told;
  try {
    told = (await get("/compare", { with: other.name })).figures;
  } catch { return; }
  if (!alive() || !told) return;
  if (told.error) return place.replaceChildren(make("p", { class: "quiet" }, told.error));
  const number = (value) => (value === null ? "–" : value.toFixed(4));
  const line = ([name, one]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, number(one.first.value)), make("td", {}, number(one.second.value)),
    make("td", {}, `${one.difference.value >= 0 ? "+" : "−"}${Math.abs(one.difference.value).toFixed(4)} [${number(one.difference.low)}, ${number(one.difference.high)}]`), make("td", {}, one.told ? "told apart" : "not told apart"));
  place.replaceChildren(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures" }, make("table", {}, make("caption", {}, `${count(told.queries)} queries of both`),
    make("thead", {}, make("tr", {}, ["measure", about.name, other.name, "difference, 95 %", ""].map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, Object.entries(told.measures).map(line)))));
}
