// The answer: what matches, the fold, the doubtful below it; or, before anything is asked, a wall of varied pictures.

import { get, post, use } from "./api.js";
import { $, button, chance, copied, count, download, make, say, several } from "./dom.js";
import { drawFacets } from "./facets.js";
import * as large from "./large.js";
import * as selection from "./selection.js";
import * as state from "./state.js";
import { Grid, Groups } from "./tiles.js";

const PAGE = 60;
const MOST = 1000; // hits that the service gives at once
const PICKED = 10000; // pictures that are selected at once

let running = null; // the answer that is shown, or on its way
export const shown = () => (running ? [...running.above.items, ...running.below.items] : []);

// All that match, also those that are not shown yet.
export async function aboveFold() {
  if (!running) return [];
  const { above, folded, ask } = running;
  const found = [...above.items];
  for (let cursor = folded || !running.ends ? null : running.cursor; cursor && found.length < PICKED;) {
    const answer = await ask(cursor, MOST);
    const hits = answer.hits.slice(0, cutOf(running, answer));
    found.push(...hits);
    cursor = hits.length < answer.hits.length ? null : answer.cursor;
  }
  return found.slice(0, PICKED);
}
export const generation = () => running?.generation;

const arranged = (s) => Boolean(s.sort || s.group);
export const isQuestion = (s) => s.like.length + s.unlike.length > 0;

// Words that the model does not know are looked for in paths, labels and attributes of text.
export function asFilter(words, about) {
  const text = JSON.stringify(words);
  const names = ["path", "label", ...Object.entries(about.attributes || {}).filter(([, kind]) => kind.includes("text")).map(([name]) => "`" + name.replace(/`/g, "") + "`")];
  return names.slice(0, 20).map((name) => `${name} contains ${text}`).join(" or ");
}

export function whereOf(s, about) {
  const parts = [s.where, s.words && !about.words ? asFilter(s.words, about) : ""].filter(Boolean);
  return parts.map((one) => (parts.length > 1 ? `(${one})` : one)).join(" and ");
}

export function question(s, about) {
  const like = s.like.map(state.asPart);
  if (s.words && about.words) like.push("text:" + s.words);
  return {
    like, unlike: s.unlike.map(state.asPart), filter: whereOf(s, about) || undefined,
    diverse: s.diverse || undefined, marks: s.marked ? marksOf(s) : undefined,
  };
}

export const marksOf = (s) => [
  ...s.right.map((id) => ({ item: Number(id), right: true })), ...s.wrong.map((id) => ({ item: Number(id), right: false })),
];

// The least score of what is above the fold; 0: nothing is; null: nobody knows where matches end.
async function leastScore(s, about, signal, first) {
  if (!about.calibration) return null;
  const known = first && (first.fold.matches < first.hits.length || !first.cursor);
  const answer = known ? first : await post("/search", { ...question(s, about), k: MOST, details: 0 }, { signal });
  const { matches } = answer.fold;
  if (!matches) return matches;
  if (matches === MOST) return about.calibration.threshold; // a little of what is meant, where nobody looks at all
  return Math.min(...answer.hits.slice(0, matches).map((hit) => hit.score)) - 1e-6;
}

export const asks = (s, about) => isQuestion(s) || Boolean(s.words && about.words);

export const actions = {
  more: (item) => state.go({ ...state.fresh, where: state.now.where, like: [String(item.id)] }),
  open: (item, items) => large.open(item, items, actions),
  like: (item) => toggle("like", item.id),
  unlike: (item) => toggle("unlike", item.id),
  pick: (item, range) => selection.pick(item, range, shown()),
  why: (item) => large.open(item, shown(), actions, true),
  picked: selection.picked,
  mark: (id) => (state.now.right.includes(String(id)) ? true : state.now.wrong.includes(String(id)) ? false : undefined),
  sign: (item, right) => {
    const [to, from] = right ? ["right", "wrong"] : ["wrong", "right"];
    const id = String(item.id);
    const had = state.now[to].includes(id);
    state.go({
      [to]: had ? state.now[to].filter((one) => one !== id) : [...state.now[to], id],
      [from]: state.now[from].filter((one) => one !== id), marked: false,
    });
    say(had ? "mark taken back" : right ? "marked right" : "marked wrong");
  },
};

function toggle(name, id) {
  const other = name === "like" ? "unlike" : "like";
  const without = (list) => list.filter((text) => state.part(text).id !== id);
  const had = state.now[name].some((text) => state.part(text).id === id);
  state.go({
    [name]: had ? without(state.now[name]) : [...state.now[name], String(id)],
    [other]: without(state.now[other]), item: "", rest: false,
  });
}

// What decides about the answer; marks do only once they are asked to.
const key = (s) => JSON.stringify([s.index, s.view, s.like, s.unlike, s.where, s.sort, s.group, s.words, s.diverse, s.marked ? [s.right, s.wrong] : 0]);

export async function draw(s, about, again = false) {
  const place = $("#results");
  if (!again && running && running.key === key(s)) {
    running.below.place.hidden = !s.rest;
    running.dress();
    if (s.rest && running.cursor) running.load();
    return;
  }
  const before = running;
  before?.abort.abort();
  const abort = new AbortController();
  const above = new (s.group ? Groups : Grid)(make("div", { class: "grid" }), actions);
  const below = new Grid(make("div", { class: "grid", hidden: !s.rest }), actions);
  const head = make("div", { class: "head" }, make("h1", {}, "…"));
  const fold = make("div", {});
  const trouble = make("div", {});
  const end = make("div", { style: { height: "1px" } });
  // What is shown stays until there is something else.
  if (place.querySelector(".tile")) place.classList.add("stale");
  else place.replaceChildren(head, make("div", { class: "skeleton", style: { height: "336px" } }));
  const mine = { key: key(s), abort, above, below, head, fold, cursor: null, loading: false, folded: false, ends: false };
  running = mine;
  mine.dress = () => { above.dressed(); below.dressed(); drawMarks(mine, s); };

  mine.ask = async (cursor, k = PAGE) => {
    const { signal } = abort;
    if (!asks(s, about)) return wall(s, about, cursor, k, signal);
    const sorts = arranged(s); // which are the matches; otherwise a later page has to be told where these end
    if (sorts ? !cursor : cursor && mine.ends && !mine.folded) mine.least ??= await leastScore(s, about, signal);
    return post("/search", {
      ...question(s, about), sort: s.sort || undefined, group: s.group || undefined, k, cursor,
      above: !sorts ? undefined : mine.least === 0 ? 2 : mine.least ?? undefined, facets: cursor ? undefined : true,
    }, { signal });
  };

  mine.load = async () => {
    if (mine.loading || abort.signal.aborted) return;
    mine.loading = true;
    try {
      put(mine, await mine.ask(mine.cursor));
      trouble.replaceChildren();
      mine.failed = false;
      seen.unobserve(end); // the end may still be in sight, as on a large screen
      seen.observe(end);
    } catch (error) {
      mine.failed = true; // what comes next is asked for again, by itself once the server is back
      if (error.name !== "AbortError") trouble.replaceChildren(make("p", { class: "nothing" }, error.message + " ", button("try again", mine.load)));
    }
    mine.loading = false;
  };

  const seen = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && mine.cursor && !mine.failed && (!mine.folded || state.now.rest)) mine.load();
  }, { rootMargin: "800px" });

  let answer;
  try {
    answer = await mine.ask(null);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (running !== mine) return;
    running = error.status === 0 ? before : null; // what is shown is kept while the server is away
    place.classList.remove("stale");
    if (error.status === 0) return;
    head.replaceChildren(make("h1", { id: "count" }, "Not answered"));
    place.replaceChildren(head, make("p", { class: "nothing", role: "alert" }, error.message));
    drawFacets(null, s);
    wrongFilter(error, s, about);
    return;
  }
  if (abort.signal.aborted) return;
  wrongFilter(null);
  place.classList.remove("stale");
  scrollTo(0, 0);
  place.replaceChildren(head, above.place, fold, below.place, trouble, end);
  put(mine, answer);
  drawHead(mine, answer, s, about);
  drawFacets(answer.facets, s);
  counted(s, about, answer, abort.signal).then((facets) => { if (!abort.signal.aborted) drawFacets(facets, s); }, () => {});
  seen.observe(end);
  abort.signal.addEventListener("abort", () => seen.disconnect());
}

// Nothing is asked yet: varied pictures, or those that the filter lets through.
async function wall(s, about, cursor, k, signal) {
  const filter = whereOf(s, about);
  if (!filter && !cursor && !s.sort) {
    const found = await get("/wall", { k: 120 }, { signal });
    return { hits: found.items, wall: true, cursor: null, generation: found.generation, total: found.total };
  }
  const found = await get("/items", { k, cursor, filter, sort: s.sort }, { signal });
  return { hits: found.items, cursor: found.cursor, generation: found.generation, total: found.total, listing: true };
}

// What there is of each kind, which may take longer than the pictures: of all matches, where it is known where these end.
async function counted(s, about, answer, signal) {
  if (!asks(s, about)) return (await get("/facets", { filter: whereOf(s, about) }, { signal })).facets;
  if (!answer.fold.matches) return answer.facets;
  const above = await leastScore(s, about, signal, answer);
  return (await post("/search", { ...question(s, about), above, k: 1, details: 0, facets: true }, { signal })).facets;
}

function put(mine, answer) {
  const { hits } = answer;
  mine.cursor = answer.cursor;
  mine.generation = answer.generation;
  mine.ends = Boolean(answer.listing || mine.least || answer.fold?.matches);
  const cut = cutOf(mine, answer);
  mine.above.add(hits.slice(0, cut));
  mine.below.add(hits.slice(cut));
  mine.folded = mine.folded || cut < hits.length;
  drawFold(mine);
  if (mine.folded || !mine.cursor) drawAll(mine);
}

// The first page could only say how many match at least; now it is known.
function drawAll({ head, above: { items } }) {
  const title = head.firstChild;
  if (!title.textContent.startsWith("At least ")) return;
  const mean = items.reduce((sum, item) => sum + item.probability, 0) / items.length;
  title.textContent = `${count(items.length)} match, each with P ${chance(mean)} on average.`;
}

// How many hits of a page are above the fold.
const cutOf = ({ folded, least }, { hits, fold }) => (folded ? 0 : fold?.matches ?? (least && hits[0]?.score != null ? hits.filter((hit) => hit.score >= least).length : hits.length));

function drawFold(mine) {
  if (!mine.folded) return;
  const open = state.now.rest;
  const more = mine.below.items.length;
  mine.fold.replaceChildren(make("div", { class: "fold" },
    make("span", {}, "below here it is doubtful that they match"),
    make("button", { id: "rest", "aria-expanded": open, onclick: () => {
      state.go({ rest: !state.now.rest }, { replace: true });
      drawFold(mine);
    } }, open ? "fold ▴" : `${mine.cursor ? "at least " : ""}${count(more)} more ▸`)));
}

function drawHead(mine, answer, s, about) {
  const { head } = mine;
  const found = answer.hits.length;
  let text;
  if (answer.wall) text = `${several(answer.total ?? about.items, "picture")} · some of all kinds`;
  else if (answer.listing) text = answer.total ? several(answer.total, "picture") : s.words ? `No name, label or text has “${s.words}”.` : "No picture passes the filter.";
  else if (!found) text = "Nothing in this collection matches.";
  else if (mine.least) text = `${count(answer.matches)} ${answer.matches === 1 ? "matches" : "match"}`;
  else if (arranged(s)) text = `The ${count(found)} that are most alike`;
  else text = answer.fold?.sentence || `${several(found, "picture")}, ordered by likeness`;
  const parts = [make("h1", { id: "count" }, text)];
  if (answer.fold?.advice && found) parts.push(calibrateButton(answer));
  parts.push(make("label", { class: "row quiet" }, "sort ", sorting(s, about)));
  if (asks(s, about)) {
    parts.push(make("label", { class: "row quiet" }, "group ", choosing("group", "Group by", GROUPS, s)));
    parts.push(make("button", { "aria-pressed": s.diverse, title: "Show varied pictures among the matches", onclick: () => state.go({ diverse: !s.diverse, sort: "", group: "", marked: false }) }, "varied"));
  }
  parts.push(make("span", { id: "marks", class: "row" }));
  head.replaceChildren(...parts);
  drawMarks(mine, s);
  if (answer.left_out?.length) head.append(make("p", { class: "quiet" }, answer.left_out.map((one) => `${one.path}: ${one.reason}`).join("; ")));
  say(text);
}

function sorting(s, about) {
  const time = about.attributes?.taken ? "taken" : "modified";
  const choices = { "": asks(s, about) ? "likeness" : "—", [`${time}:desc`]: "newest", [`${time}:asc`]: "oldest", path: "name", label: "label", "size:desc": "largest file" };
  for (const name of Object.keys(about.attributes || {})) if (name !== "taken") choices[name] = name;
  if (s.sort && !(s.sort in choices)) choices[s.sort] = s.sort;
  return choosing("sort", "Sort by", choices, s);
}

const GROUPS = { "": "—", label: "label", folder: "folder", day: "day", "near-duplicate": "near-duplicates" };

function choosing(name, title, choices, s) {
  const select = make("select", { id: name, "aria-label": title, onchange: () => state.go({ [name]: select.value, diverse: false }) },
    Object.entries(choices).map(([value, text]) => make("option", { value, selected: value === s[name] }, text)));
  return select;
}

// Nobody has said yet where matches end: one click that mends it, or the command where one may not write.
function calibrateButton(answer) {
  const command = answer.fold.advice;
  if (selection.may) {
    const one = button("find out where matches end", async () => {
      one.disabled = true;
      one.textContent = "finding out …";
      try {
        await post("/calibrate", {});
        document.dispatchEvent(new Event("written"));
      } catch (error) {
        one.replaceWith(make("span", { class: "quiet", role: "alert" }, error.message));
      }
    });
    return one;
  }
  return command ? button("copy the command that finds out", () => copied(command), command) : null;
}

function drawMarks(mine, s) {
  const place = mine.head.querySelector("#marks");
  if (!place) return;
  const now = state.now;
  const marked = now.right.length + now.wrong.length;
  if (!marked) return place.replaceChildren();
  place.replaceChildren(
    make("span", { class: "quiet" }, `${marked} marked ·`),
    make("button", { "aria-pressed": now.marked, onclick: () => state.go({ marked: !now.marked, diverse: false, rest: false }) }, now.marked ? "ordered anew" : "order anew"),
    button("save marks", saveMarks),
    make("button", { class: "plain", onclick: () => state.go({ right: [], wrong: [], marked: false }) }, "take all back"));
}

// A file of marks as `retrieval query --marks` and a head read it.
async function saveMarks() {
  const lines = [];
  const query = { like: state.now.like.map(state.asPart), unlike: state.now.unlike.map(state.asPart) };
  const spelled = query.unlike.length || query.like.length !== 1 ? query : query.like[0];
  for (const { item, right } of marksOf(state.now)) {
    const told = await get(`/items/${item}`);
    lines.push(JSON.stringify({ query: spelled, item: told.path, sha256: told.sha256, right }));
  }
  download("marks.jsonl", lines.join("\n") + "\n", "application/jsonl");
}

function wrongFilter(error, s, about) {
  const input = $("#where");
  if (!input) return;
  const wrong = Boolean(error && /filter/i.test(error.message) || error?.where !== undefined && error?.where !== null);
  input.setAttribute("aria-invalid", wrong);
  if (wrong && Number.isInteger(error.where)) {
    const at = error.where - (s.words && !about.words ? 2 : 1); // counted from 1, and from the bracket around it
    input.focus();
    input.setSelectionRange(at, input.value.length);
  }
}

// The server is back: what was on its way is asked for again.
export function goOn() {
  if (running?.failed) running.load();
}

// Another index: what was shown has nothing to do with it.
export function forget(name) {
  use(name);
  running?.abort.abort();
  running = null;
}
