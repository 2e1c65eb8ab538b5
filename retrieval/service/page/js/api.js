// The service, asked: addresses below the root path, one error with the sentence that the service gives, and a word when
// it does not answer.

export const root = document.documentElement.dataset.root || "";

export class Problem extends Error {
  constructor(status, detail, where) {
    super(detail);
    this.status = status;
    this.where = where;
  }
}

let index = null;
let gone = false;
const listeners = { gone: [], back: [], token: [] };

export const use = (name) => { index = name; };
export const on = (event, listener) => listeners[event].push(listener);
const tell = (event) => listeners[event].forEach((listener) => listener());

export function address(path, query = {}, of = index) {
  const asked = new URLSearchParams();
  if (of) asked.set("index", of);
  for (const [name, value] of Object.entries(query)) {
    if (value != null && value !== "" && value !== false) {
      asked.set(name, value === true ? "1" : value);
    }
  }
  const text = asked.toString();
  return root + path + (text ? "?" + text : "");
}

export async function call(method, path, { query, json, body, signal, of, raw } = {}) {
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(address(path, query, of), {
      method, headers, signal, body: json === undefined ? body : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    missing();
    throw new Problem(0, "The server does not answer. What is shown is kept; this page tries again by itself.");
  }
  if (answer.ok) return raw ? answer : answer.status === 204 ? null : answer.json();
  let told = {};
  try { told = await answer.json(); } catch { /* a proxy's page */ }
  if (answer.status === 401) tell("token");
  throw new Problem(answer.status, told.detail || `The server answered ${answer.status}.`, told.where);
}

export const get = (path, query, more = {}) => call("GET", path, { query, ...more });
export const post = (path, json, more = {}) => call("POST", path, { json, ...more });

function missing() {
  if (gone) return;
  gone = true;
  tell("gone");
  let wait = 1000;
  const again = async () => {
    try {
      if ((await fetch(root + "/healthz")).ok) {
        gone = false;
        tell("back");
        return;
      }
    } catch { /* still away */ }
    wait = Math.min(wait * 1.5, 10000);
    setTimeout(again, wait);
  };
  setTimeout(again, wait);
}

// Pictures to look for; the service keeps them for an hour by their SHA-256.
export async function upload(files, signal) {
  const form = new FormData();
  for (const file of files) form.append("file", file, file.name || "pasted.png");
  return (await call("POST", "/uploads", { body: form, signal })).uploads;
}

export const thumbnail = (id, side = 256, of = index) => address(`/items/${id}/thumbnail`, { s: side }, of);
