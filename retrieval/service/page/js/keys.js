// What the keyboard does.

import { closing, dialog, make } from "./dom.js";
import * as large from "./large.js";
import * as results from "./results.js";
import * as selection from "./selection.js";
import * as state from "./state.js";
import { focused, move } from "./tiles.js";

const KEYS = [
  ["/", "the bar"], ["arrows", "from picture to picture"], ["Enter", "more like this"], ["space", "large"],
  ["+ −", "like this, not like this"], ["y n", "right, wrong"], ["x", "select; with shift up to here"], ["e", "why it is a hit"],
  ["d", "duplicates"], ["m", "map"], ["l", "label errors"], ["c", "compare"], ["Escape", "back"], ["?", "these keys"],
];

export function help() {
  dialog("Keys", make("div", { class: "keys" }, KEYS.flatMap(([key, text]) => [make("kbd", {}, key), make("span", {}, text)])),
    closing("close"));
}

const VIEWS = { d: "duplicates", m: "map", l: "errors", c: "compare" };

export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || large.isOpen() || document.querySelector("dialog[open], :popover-open:not([hidden])")) return;
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else if (selection.picked.size) selection.drop();
      else if (state.now.view !== "search" || state.now.like.length || state.now.words || state.now.unlike.length) state.back();
      return;
    }
    if (typing) return;
    const done = () => event.preventDefault();
    if (event.key === "/") { document.querySelector("#words").focus(); return done(); }
    if (event.key === "?") { help(); return done(); }
    if (event.key in VIEWS) { state.go({ ...state.fresh, like: state.now.like, unlike: state.now.unlike, where: state.now.where, view: VIEWS[event.key] }); return done(); }
    if (state.now.view !== "search") return;
    if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key)) {
      if (event.target.closest("#results") || event.target === document.body) { if (move(event.key)) done(); }
      return;
    }
    const tile = focused();
    const item = tile && results.shown().find((one) => String(one.id) === tile.dataset.id);
    if (!item) return;
    const { actions } = results;
    const onLink = event.target.matches(".tile > a");
    if (event.key === " " && onLink) { actions.open(item, results.shown()); done(); }
    else if (event.key === "+" || event.key === "=") { actions.like(item); done(); }
    else if (event.key === "-") { actions.unlike(item); done(); }
    else if (event.key === "y" || event.key === "n") { actions.sign(item, event.key === "y"); done(); }
    else if (event.key === "x" || event.key === "X") { actions.pick(item, event.shiftKey); done(); }
    else if (event.key === "e") { actions.why(item); done(); }
  });
}
