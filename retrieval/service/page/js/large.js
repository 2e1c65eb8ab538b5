// One picture, large: left and right, nearer and farther, why it is a hit, what is known of it, what lies near it.

import { address, get, thumbnail } from "./api.js";
import { chance, count, day, make, named, say } from "./dom.js";
import * as state from "./state.js";
import { zooming } from "./zoom.js";

let box = null;
let drawn = null;

export const isOpen = () => box !== null;

export const close = () => box?.close();

export function open(item, items, actions, why = false) {
  const back = document.activeElement;
  if (!box) {
    const own = !state.now.item; // a step of its own: one back is where one was
    box = make("dialog", { class: "large", "aria-label": "Picture" });
    box.addEventListener("close", () => {
      box.remove();
      box = null;
      if (state.now.item && own) history.back();
      else if (state.now.item) state.go({ item: "" }, { replace: true });
      back?.focus?.({ preventScroll: true });
    });
    box.addEventListener("keydown", keyed);
    document.body.append(box);
    box.showModal();
  }
  show(item, items, actions, why);
}

function keyed(event) {
  if (event.target.matches("input, textarea, select")) return;
  const { item, items, actions, stage, zoom } = drawn;
  const at = items.findIndex((one) => one.id === item.id);
  const to = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const done = () => { event.preventDefault(); event.stopPropagation(); };
  if (to !== undefined) { if (items[at + to]) show(items[at + to], items, actions, false); done(); }
  else if (event.key === "+" ) { zoom(1.3); done(); }
  else if (event.key === "-") { zoom(1 / 1.3); done(); }
  else if (event.key === "e") { why(stage, item, !event.repeat); done(); }
  else if (event.key === "y" || event.key === "n") { actions.sign(item, event.key === "y"); fill(); done(); }
  else if (event.key === "x") { actions.pick(item, false); done(); }
  else if (event.key === "Enter" && event.target === box) { actions.more(item); done(); }
}

function show(item, items, actions, explain) {
  const stage = make("div", { class: "stage" });
  const image = make("img", { alt: named(item), src: thumbnail(item.id, 1024) });
  image.addEventListener("error", () => stage.append(make("p", { class: "nothing" }, `${named(item)} cannot be shown.`)), { once: true });
  const whole = new Image(); // the file itself takes its place when it is there
  whole.addEventListener("load", () => { image.src = whole.src; });
  whole.src = address(`/items/${item.id}/image`);
  stage.append(image);
  const zoom = zooming(stage, 16, (way) => stage.querySelector(way < 0 ? ".on" : ".back")?.click());
  const at = items.findIndex((one) => one.id === item.id);
  const turn = (way, sign, text) => (items[at + way] ? make("button", { class: `turn ${way < 0 ? "back" : "on"}`, "aria-label": text, onclick: () => show(items[at + way], items, actions, false) }, sign) : null);
  const asked = state.now.like.length > 0;
  const button = (text, title, job) => make("button", { title, "aria-label": title, onclick: job }, text);
  stage.append(...[turn(-1, "‹", "The one before"), turn(1, "›", "The next one"),
    make("div", { class: "top" },
      button("✕", "Back", () => box.close()), button("−", "Smaller", () => zoom(1 / 1.3)), button("+", "Larger", () => zoom(1.3)),
      asked ? whyButton(stage, item) : null)].filter(Boolean));
  const side = make("aside", { class: "side", "aria-label": "What is known of it" });
  box.replaceChildren(make("div", { class: "in" }, stage, side));
  drawn = { item, items, actions, stage, side, zoom };
  state.go({ item: String(item.id) }, { replace: Boolean(state.now.item) });
  say(`${item.path}, ${at + 1} of ${count(items.length)}`);
  if (explain) why(stage, item, false);
  fill();
  box.focus();
}

async function fill() {
  const { item, side, actions, items } = drawn;
  let told = item;
  try { told = { ...item, ...(await get(`/items/${item.id}`)) }; } catch (error) { side.replaceChildren(make("p", { role: "alert" }, error.message)); }
  if (drawn.side !== side || !box) return;
  const line = (name, value) => (value == null || value === "" ? [] : [make("dt", {}, name), make("dd", {}, String(value))]);
  const mark = actions.mark(item.id);
  const button = (text, pressed, job) => make("button", { "aria-pressed": pressed, onclick: job }, text);
  side.replaceChildren(make("h2", {}, named(told)),
    make("div", { class: "row" },
      button("more like this", undefined, () => actions.more(item)),
      button("+ like", undefined, () => actions.like(item)),
      button("− not like", undefined, () => actions.unlike(item))),
    state.now.like.length ? make("div", { class: "row" }, button("✓ right", mark === true, () => { actions.sign(item, true); fill(); }), button("✗ wrong", mark === false, () => { actions.sign(item, false); fill(); })) : null,
    make("dl", {},
      line("path", told.path), line("label", told.label), line("score", item.score?.toFixed(4)),
      line("matches with", item.probability == null ? null : chance(item.probability, 3)),
      line("made of", evidence(item)), line("taken", day(told.taken)),
      line("pixels", told.width ? `${told.width} × ${told.height}` : null), line("bytes", told.size ? count(told.size) : null),
      ...Object.entries(told.attributes || {}).filter(([name]) => name !== "taken").map(([name, value]) => line(name, value))),
    told.served === false ? make("p", {}, "The file itself is not shown: it is gone, or lies outside of the collection's folder.")
      : make("p", {}, make("a", { href: address(`/items/${item.id}/image`), download: named(told) }, "the file"), " with all that it says besides the pixels"),
    make("h2", {}, "Near it"), make("div", { class: "near" }));
  try {
    const near = await get(`/items/${item.id}/similar`, { k: 12, same: 0 });
    if (drawn.side !== side) return;
    side.querySelector(".near").replaceChildren(...near.hits.map((one) => make("a", { href: "#", "aria-label": one.path, onclick: (event) => { event.preventDefault(); show(one, near.hits, actions, false); } }, make("img", { src: thumbnail(one.id, 128), alt: "" }))));
  } catch { /* the picture is shown all the same */ }
}

// What the chance is made of, in log odds.
const evidence = (item) => Object.entries(item.evidence || {}).filter(([, value]) => typeof value === "number")
  .map(([name, value]) => `${name} ${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)}`).join(", ");

// The heat map lies over the picture while it is wanted: as long as one holds down, or from one click to the next.
function why(stage, item, toggle) {
  let heat = stage.querySelector("img.heat");
  if (heat) return stage.classList.toggle("why", toggle ? undefined : true);
  const query = state.now.like.length ? state.asPart(state.now.like[0]) : "";
  heat = make("img", { class: "heat", alt: "Which parts make it a hit", src: address(`/items/${item.id}/heat`, { query }) });
  const wait = make("p", { class: "told" }, "Looking for what makes it a hit …");
  heat.addEventListener("load", () => wait.remove());
  heat.addEventListener("error", () => {
    heat.remove();
    stage.classList.remove("why");
    wait.textContent = "There is no explanation for this one.";
    say(wait.textContent);
  });
  stage.querySelector(".told")?.remove();
  stage.append(heat, wait);
  heat.style.transform = stage.querySelector("img").style.transform;
  stage.classList.add("why");
}

function whyButton(stage, item) {
  let [since, was] = [0, false];
  return make("button", { title: "why: which parts make it a hit; hold to look, click to keep it", onpointerdown: () => {
    [since, was] = [Date.now(), stage.classList.contains("why")];
    why(stage, item, false);
  }, onclick: (event) => {
    if (!event.detail) why(stage, item, true); // a key
    else if (was || Date.now() - since > 400) stage.classList.remove("why");
  } }, "why");
}
