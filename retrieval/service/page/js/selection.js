// Pictures that are selected, and what can be done with them: paths, a table, an archive, a tag, a label.

import { call } from "./api.js";
import { $, button, closing, copied, count, csv, dialog, download, make, say, several, trouble } from "./dom.js";
import * as results from "./results.js";

export const picked = new Set();
const known = new Map();
let last = null;

export function pick(item, range, items) {
  const to = items.findIndex((one) => one.id === item.id);
  const from = items.findIndex((one) => one.id === last);
  if (range && from >= 0 && to >= 0) {
    for (const one of items.slice(Math.min(from, to), Math.max(from, to) + 1)) add(one);
  } else if (picked.has(item.id)) picked.delete(item.id);
  else add(item);
  last = item.id;
  draw();
}

export function pickAll(items) {
  items.forEach(add);
  draw();
}

export function drop() {
  picked.clear();
  draw();
}

function add(item) {
  picked.add(item.id);
  known.set(item.id, item);
}

export let may = false; // write
export const allow = (write) => { may = write; };

export function draw() {
  const place = $("#selected");
  const ids = [...picked];
  place.hidden = !ids.length;
  document.dispatchEvent(new Event("selection"));
  if (!ids.length) return place.replaceChildren();
  const items = ids.map((id) => known.get(id));
  place.replaceChildren(make("div", { class: "row" },
    make("strong", {}, `${count(ids.length)} selected`),
    button("copy paths", () => copied(items.map((one) => one.path).join("\n"))),
    button("CSV", () => exported("csv", ids)),
    button("zip", () => exported("zip", ids), "The files as they are, with all that they say besides the pixels: place, camera, names"),
    button("label …", () => setting(ids, items, "label_corrected", "Label")),
    button("tag …", () => setting(ids, items, "tag", "Tag")),
    may ? button("hide", () => write(ids, { hidden: true })) : null,
    button("all above the fold", () => results.aboveFold().then(pickAll, trouble)),
    button("none", drop)));
  say(`${count(ids.length)} selected`);
}

async function exported(kind, ids) {
  if (kind === "zip") {
    const box = dialog("Download the files?", make("p", {}, "The files come as they are, with all that they say besides the pixels, such as where and when they were taken."),
      make("div", { class: "row" }, button("download", () => { box.close(); fetchFile(kind, ids); }), closing("leave it")));
    return;
  }
  await fetchFile(kind, ids);
}

async function fetchFile(kind, ids) {
  try {
    const answer = await call("POST", `/export/${kind}`, { json: { ids }, raw: true });
    download(`pictures.${kind}`, await answer.blob());
  } catch (error) {
    trouble(error);
  }
}

// With a writer's rights into the index; otherwise as a list that `retrieval attach` takes.
function setting(ids, items, name, title) {
  const input = make("input", { "aria-label": title, required: true });
  const values = () => ({ [name]: input.value.trim() });
  const list = () => download(`${name}.csv`, csv("path," + name, items.map((item) => [item.path, input.value.trim()])), "text/csv");
  const box = dialog(`${title} of ${several(ids.length, "picture")}`, make("p", {}, input),
    make("div", { class: "row" },
      may ? button("write into the index", () => { if (input.value.trim()) { box.close(); write(ids, values()); } }) : null,
      button("as a list (CSV)", () => { if (input.value.trim()) { box.close(); list(); } }),
      closing("leave it")),
    may ? null : make("p", { class: "quiet" }, "Writing into the index takes a writer's token."));
}

async function write(ids, values) {
  try {
    await call("PATCH", "/items", { json: { ids, ...values } });
    say("Written");
    drop();
    document.dispatchEvent(new Event("written"));
  } catch (error) {
    trouble(error);
  }
}
