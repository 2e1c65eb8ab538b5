// What the matches are: labels and attributes with their counts; a click narrows, another frees.

import { $, count, day, make } from "./dom.js";
import * as state from "./state.js";

const SHOWN = 8;
const OF_FILES = new Set(["width", "height", "size", "modified"]); // seldom asked for, so folded
const quoted = (name) => (/^[a-z_][a-z0-9_]*$/i.test(name) ? name : "`" + name + "`");
const literal = (value) => (typeof value === "number" ? String(value) : JSON.stringify(value));

const clauseOf = (name, value) => (name === "folder" ? `path under ${literal(value)}` : `${quoted(name)} = ${literal(value)}`);

// Conditions that stand in the filter joined by `and`, at the top, and outside of quotes.
export function conditions(where) {
  const found = [];
  let depth = 0;
  let quote = "";
  let start = 0;
  for (let at = 0; at < where.length; at++) {
    const letter = where[at];
    if (quote) {
      if (letter === "\\") at++;
      else if (letter === quote) quote = "";
    } else if (letter === '"' || letter === "'" || letter === "`") quote = letter;
    else if (letter === "(") depth++;
    else if (letter === ")") depth--;
    else if (!depth && /^ and /i.test(where.slice(at, at + 5))) {
      found.push(where.slice(start, at).trim());
      start = at + 5;
    } else if (!depth && /^ or /i.test(where.slice(at, at + 4))) return [where.trim()].filter(Boolean);
  }
  found.push(where.slice(start).trim());
  return found.filter(Boolean);
}

const joined = (parts) => (parts.length > 1 ? parts.map((one) => (/ or /i.test(one) && !one.startsWith("(") ? `(${one})` : one)) : parts).join(" and ");

function toggle(clause) {
  const there = conditions(state.now.where);
  const without = there.filter((one) => one !== clause);
  state.go({ where: joined(without.length < there.length ? without : [...there, clause]), rest: false });
}

// undefined: they are being counted, and what is there, or their place, stays.
export function drawFacets(facets, s) {
  const place = $("#facets");
  const open = $("#narrow");
  if (facets === undefined) {
    place.hidden = open.hidden = false;
    return;
  }
  const nameOf = (one) => one.dataset.clause || one.getAttribute("aria-label");
  const held = place.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  const there = (facets || []).filter((one) => one.values?.length > 1 || one.bins?.length > 1 || one.values?.length === 1 && conditions(s.where).some((c) => c.startsWith(quoted(one.name))));
  place.hidden = open.hidden = !there.length;
  const label = JSON.stringify(there.find((one) => one.name === "label")?.values);
  const own = there.filter((one) => !OF_FILES.has(one.name) && !(one.name === "folder" && JSON.stringify(one.values) === label));
  const files = there.filter((one) => OF_FILES.has(one.name));
  const drawn = (one) => (one.bins ? bins(one, s) : values(one, s));
  const asked = files.some((one) => conditions(s.where).some((clause) => clause.startsWith(one.name)));
  place.replaceChildren(make("button", { popovertarget: "facets" }, "done"), ...own.map(drawn), files.length ? make("details", { open: asked || !own.length }, make("summary", {}, "files"), files.map(drawn)) : "");
  if (held) [...place.querySelectorAll("button, input")].find((one) => nameOf(one) === held)?.focus();
}

function values(facet, s) {
  const most = Math.max(...facet.values.map((one) => one.count), 1);
  const chosen = new Set(conditions(s.where));
  const list = make("div", {});
  const line = ({ value, count: times }) => {
    const clause = clauseOf(facet.name, value);
    return make("button", { class: "value", "data-clause": clause, "aria-pressed": chosen.has(clause), onclick: () => toggle(clause) },
      make("span", { class: "bar", style: { width: `${(100 * times) / most}%` } }),
      make("span", { class: "text" }, value), make("span", { class: "count" }, count(times)));
  };
  const few = facet.values.slice(0, SHOWN);
  list.append(...few.map(line));
  if (facet.values.length > SHOWN) {
    const more = make("button", { class: "value plain", onclick: () => { more.replaceWith(...facet.values.slice(SHOWN).map(line)); } }, make("span", { class: "text quiet" }, `${facet.values.length - SHOWN} more`));
    list.append(more);
  }
  if (facet.other) list.append(make("div", { class: "quiet" }, `others ${count(facet.other)}`));
  return make("section", {}, make("h2", {}, facet.name), list);
}

function bins(facet, s) {
  const most = Math.max(...facet.bins.map((one) => one.count), 1);
  const dates = facet.kind === "date";
  const name = quoted(facet.name);
  const mine = conditions(s.where).filter((one) => one.startsWith(`${name} >= `) || one.startsWith(`${name} <= `));
  const value = (sign) => mine.find((one) => one.startsWith(`${name} ${sign} `))?.slice(name.length + 4).trim() || "";
  const [from, to] = [value(">="), value("<=")];
  const show = (one) => (dates ? day(one) : String(one));
  const least = make("input", { type: dates ? "date" : "number", value: from || show(facet.least), "aria-label": `${facet.name} from`, step: "any" });
  const highest = make("input", { type: dates ? "date" : "number", value: to || show(facet.most), "aria-label": `${facet.name} to`, step: "any" });
  const change = () => {
    const others = conditions(s.where).filter((one) => !mine.includes(one));
    if (least.value && least.value !== show(facet.least)) others.push(`${name} >= ${least.value}`);
    if (highest.value && highest.value !== show(facet.most)) others.push(`${name} <= ${highest.value}`);
    state.go({ where: joined(others), rest: false });
  };
  least.addEventListener("change", change);
  highest.addEventListener("change", change);
  const number = (text) => (dates ? Date.parse(day(text)) / 864e5 : Number(text));
  const ends = [number(facet.least), number(facet.most)];
  const bars = facet.bins.map((one) => make("span", { style: { height: `${(100 * one.count) / most}%` }, title: `${show(one.from)}: ${count(one.count)}` }));
  const handle = (field, what) => {
    const one = make("input", { type: "range", "aria-label": `${facet.name} ${what}, by hand`, min: ends[0], max: ends[1], step: ends.every(Number.isInteger) ? "1" : "any" });
    one.value = number(field.value);
    one.addEventListener("input", () => {
      field.value = dates ? new Date(864e5 * one.value).toISOString().slice(0, 10) : String(ends.every(Number.isInteger) ? one.value : Number(Number(one.value).toPrecision(6)));
      const [low, high] = [number(least.value), number(highest.value)];
      facet.bins.forEach((bin, place) => bars[place].classList.toggle("out", number(bin.to) <= low || number(bin.from) > high));
    });
    one.addEventListener("change", change);
    return one;
  };
  return make("section", {}, make("h2", {}, facet.name), make("div", { class: "bins", "aria-hidden": "true" }, bars),
    ends[0] < ends[1] ? make("div", { class: "sliders" }, handle(least, "from"), handle(highest, "to")) : null,
    make("div", { class: dates ? "handles dates" : "handles" }, least, highest),
    mine.length ? make("button", { class: "plain", onclick: () => state.go({ where: joined(conditions(s.where).filter((one) => !mine.includes(one))) }) }, "all") : null);
}
