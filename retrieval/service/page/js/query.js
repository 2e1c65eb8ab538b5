// What is asked: pictures that are dropped, chosen or pasted, words, chips with weights, and a part of a picture.

import { address, get, thumbnail, upload } from "./api.js";
import { $, button, dialog, later, make, named, say, trouble } from "./dom.js";
import { shown } from "./results.js";
import * as state from "./state.js";

export const pictureOf = (one, side = 256) => {
  if (one.id !== null) return thumbnail(one.id, side);
  if (one.what.startsWith("upload:")) return address(`/uploads/${one.what.slice(7)}/thumbnail`, { s: side });
  return null;
};

const names = new Map(); // as the person knows them, by the address of the picture

const asked = () => JSON.stringify([state.now.index, state.now.view, state.now.like, state.now.unlike, state.now.words, state.now.where]);
let sending = null;

export async function askWith(files) {
  const pictures = [...files].filter((file) => !file.type || file.type.startsWith("image/")); // browsers know few kinds
  if (!pictures.length) return trouble("That is no picture.", "Not looked for");
  sending?.abort(); // the last one is meant
  const mine = (sending = new AbortController());
  const before = asked();
  say("Sending");
  $("#results").classList.add("stale");
  try {
    const sent = await upload(pictures, mine.signal);
    if (mine.signal.aborted || asked() !== before) return; // something else was asked meanwhile
    sent.forEach((one) => names.set(pictureOf(state.part("upload:" + one.sha256)), one.name));
    state.go({ ...state.fresh, where: state.now.where, like: sent.map((one) => "upload:" + one.sha256) });
  } catch (error) {
    if (error.name === "AbortError") return;
    $("#results").classList.remove("stale");
    trouble(error, "Not looked for");
  }
}

export function listen() {
  const file = $("#file");
  $("#choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => { askWith(file.files); file.value = ""; });
  $("#ask").addEventListener("submit", (event) => {
    event.preventDefault();
    $("#words").blur(); // the keys are for the pictures now
    const text = $("#words").value.trim();
    const id = text.replace("id:", "");
    const words = () => state.go({ ...state.fresh, where: state.now.where, words: text });
    const like = () => state.go({ ...state.fresh, where: state.now.where, like: [id] });
    if (!text) state.go({ words: "" });
    else if (!/^\d+$/.test(id)) words();
    else if (id !== text) like();
    else { // a year is as much of a number as an id
      const before = asked();
      get(`/items/${id}`).then(() => like, (error) => (error.status === 404 || error.status === 422 ? words : like)).then((ask) => { if (asked() === before) ask(); });
    }
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])];
    if (files.length) {
      event.preventDefault();
      askWith(files);
    }
  });
  let depth = 0;
  const has = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  addEventListener("dragenter", (event) => { if (has(event)) { depth++; document.body.classList.add("dropping"); } });
  addEventListener("dragleave", (event) => { if (has(event) && --depth <= 0) { depth = 0; document.body.classList.remove("dropping"); } });
  addEventListener("dragover", (event) => { if (has(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!has(event)) return;
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("dropping");
    askWith(event.dataTransfer.files);
  });
}

export function draw(s, about) {
  const words = $("#words");
  if (document.activeElement !== words) words.value = s.words;
  words.placeholder = about.words ? "drop, paste or choose a picture · type words" : "drop, paste or choose a picture · words in names and labels";
  const place = $("#query");
  const chips = [];
  for (const [name, sign] of [["like", "+"], ["unlike", "−"]]) {
    s[name].forEach((text, at) => chips.push(chip(s, name, sign, text, at)));
  }
  if (s.words && !about.words) {
    chips.push(make("span", { class: "quiet" }, `“${s.words}” in paths, labels and texts: ${about.encoder || "this index's model"} knows no words; one built with --model clip-base does`));
  } else if (s.words) {
    chips.push(make("span", { class: "chip" }, make("span", { class: "name" }, `“${s.words}”`), make("button", { "aria-label": "Take the words away", onclick: () => state.go({ words: "" }) }, "✕")));
  }
  const where = make("input", { id: "where", value: s.where, placeholder: "filter, as label = \"beach\" and taken >= 2019", "aria-label": "Filter", spellcheck: false });
  const form = make("form", { class: "filter", onsubmit: (event) => { event.preventDefault(); state.go({ where: where.value.trim(), rest: false }); } }, where,
    s.where ? make("button", { "aria-label": "Take the filter away", onclick: () => state.go({ where: "" }) }, "✕") : null);
  place.hidden = s.view !== "search" && s.view !== "compare";
  if (!(document.activeElement?.id === "where" && document.activeElement.value !== s.where)) place.replaceChildren(...chips, form);
}

function chip(s, name, sign, text, at) {
  const one = state.part(text);
  const put = (changed, replace = false) => state.go({ [name]: s[name].map((old, place) => (place === at ? state.spell(changed) : old)), rest: false }, { replace });
  const others = s[name].filter((_, place) => place !== at);
  const picture = pictureOf(one);
  const call = (item) => names.set(picture, named(item));
  const seen = shown().find((item) => item.id === one.id);
  if (seen) call(seen);
  const title = names.get(picture) || (one.id !== null ? `picture ${one.id}` : picture ? "your picture" : one.what);
  const weight = make("input", { type: "number", min: "0.1", max: "9", step: "0.1", value: one.weight, "aria-label": `Weight of ${title}`, title: "weight" });
  weight.addEventListener("change", later(10, () => put({ ...one, weight: Math.min(9, Math.max(0.1, Number(weight.value) || 1)) })));
  const image = picture ? make("img", { src: picture, alt: "" }) : null;
  image?.addEventListener("error", () => image.replaceWith(make("span", { class: "name wrong" }, one.what.startsWith("upload:") ? "gone: drop it again" : "cannot be shown")));
  const other = name === "like" ? "unlike" : "like";
  const drawn = make("span", { class: name === "unlike" ? "chip minus" : "chip" },
    make("button", { title: name === "like" ? "like this; click: not like this" : "not like this; click: like this", "aria-label": `${title}: ${name === "like" ? "like" : "not like"} this; change`,
      onclick: () => state.go({ [name]: others, [other]: [...s[other], text] }) }, sign),
    image, make("span", { class: "name", title }, (one.box ? "part of " : "") + title), "×", weight,
    picture ? make("button", { title: "a part of it", "aria-label": `A part of ${title}`, onclick: () => crop(one, put) }, "✂") : null,
    make("button", { "aria-label": `Take ${title} away`, onclick: () => state.go({ [name]: others }) }, "✕"));
  if (one.id !== null && !names.has(picture)) {
    get(`/items/${one.id}`).then((item) => {
      call(item);
      if (!drawn.contains(document.activeElement)) drawn.replaceWith(chip(s, name, sign, text, at));
    }, () => {}); // it is gone since
  }
  return drawn;
}

// A box around the part that is meant: drawn, moved and sized by mouse, finger or arrows; the answer follows.
function crop(one, put) {
  let box = one.box || [20, 20, 60, 60];
  const image = make("img", { src: pictureOf(one, 1024), alt: "The picture; the box says which part is meant", draggable: false });
  const frame = make("div", { class: "box", tabindex: "0", role: "application", "aria-label": "The part: arrows move it, with shift they size it" });
  const place = make("div", { class: "crop" }, image, frame);
  let changed = one;
  let follows = false; // one step back undoes all of the drawing
  const follow = later(150, () => { changed = { ...changed, box: box.map((n) => Math.round(n * 10) / 10) }; put(changed, follows); follows = true; });
  const show = () => {
    Object.assign(frame.style, { left: `${box[0]}%`, top: `${box[1]}%`, width: `${box[2]}%`, height: `${box[3]}%` });
    frame.setAttribute("aria-valuetext", `from ${Math.round(box[0])}, ${Math.round(box[1])} per cent, ${Math.round(box[2])} by ${Math.round(box[3])}`);
  };
  const clamp = () => {
    box[2] = Math.min(Math.max(box[2], 3), 100);
    box[3] = Math.min(Math.max(box[3], 3), 100);
    box[0] = Math.min(Math.max(box[0], 0), 100 - box[2]);
    box[1] = Math.min(Math.max(box[1], 0), 100 - box[3]);
    show();
    follow();
  };
  const at = (event) => {
    const around = place.getBoundingClientRect();
    return [(100 * (event.clientX - around.left)) / around.width, (100 * (event.clientY - around.top)) / around.height];
  };
  place.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    frame.focus();
    place.setPointerCapture(event.pointerId);
    const [x, y] = at(event);
    const before = [...box];
    const around = frame.getBoundingClientRect();
    const sizes = event.target === frame && event.clientX > around.right - 20 && event.clientY > around.bottom - 20;
    const moves = event.target === frame && !sizes;
    const drag = (moved) => {
      const [a, b] = at(moved);
      if (sizes) box = [before[0], before[1], before[2] + a - x, before[3] + b - y];
      else if (moves) box = [before[0] + a - x, before[1] + b - y, before[2], before[3]];
      else box = [Math.min(x, a), Math.min(y, b), Math.abs(a - x), Math.abs(b - y)];
      clamp();
    };
    place.addEventListener("pointermove", drag);
    for (const end of ["pointerup", "pointercancel"]) place.addEventListener(end, () => place.removeEventListener("pointermove", drag), { once: true });
  });
  frame.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    const from = event.shiftKey ? 2 : 0;
    box[from] += 2 * way[0];
    box[from + 1] += 2 * way[1];
    clamp();
  });
  const dialogue = dialog("Which part is meant?", make("p", { class: "quiet" }, "Draw a box; arrows move it, with shift they size it."), place,
    make("div", { class: "row" }, button("done", () => { dialogue.close(); follow(); }),
      button("the whole picture", () => { dialogue.close(); put({ ...one, box: null }, follows); })));
  show();
  frame.focus();
}
