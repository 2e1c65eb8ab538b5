// What takes the service long: asked for until it is there, with its progress meanwhile.

import { $, count, make } from "./dom.js";

const PAUSE = 800;

// ask() → an answer with `state`; alive() says whether anybody still waits. Gives the answer, or null.
export async function made(ask, alive, what) {
  for (;;) {
    let answer;
    try {
      answer = await ask();
    } catch (error) {
      if (alive()) failed(error.message);
      return null;
    }
    if (!alive()) return null;
    if (answer.state === "failed") return failed(answer.error);
    if (answer.state === "ready" || answer.groups || answer.items || answer.n) return answer; // or what there was before
    const known = answer.of ? `${answer.what}: ${count(answer.done)} of ${count(answer.of)}` : answer.what;
    $("#results").replaceChildren(make("div", { class: "nothing" }, make("p", {}, `${what} ${known}.`),
      make("progress", { max: answer.of || 1, value: answer.of ? answer.done : null, "aria-label": "Progress" }),
      make("p", { class: "quiet" }, "It is made once, and kept; the rest of the page goes on working.")));
    await new Promise((done) => setTimeout(done, PAUSE));
    if (!alive()) return null;
  }
}

export const old = (answer) => (answer.state === "making" ? "The collection has changed since; this is being looked for anew. " : "");

export function failed(text) {
  $("#results").replaceChildren(make("p", { class: "nothing", role: "alert" }, text));
  return null;
}
