// Elements, made of a name, attributes and children; text is never read as HTML.

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  if (attributes.onclick && name === "button") element.type = "button"; // it sends no form
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("aria-") && value != null) element.setAttribute(key, value); // false is a word, too
    else if (value == null || value === false) continue;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else if (key === "style") Object.assign(element.style, value);
    else if (key in element && typeof value !== "string" && key !== "list") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export const button = (text, job, title) => make("button", { title, onclick: job }, text);

// One that leaves the dialog that it is in.
export const closing = (text) => button(text, (event) => event.target.closest("dialog").close());

export const $ = (selector) => document.querySelector(selector);

let saying = 0;
export function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { $("#said").textContent = text; }, 60);
}

export const count = (number) => Number(number).toLocaleString("en");

// "1 picture", "3 pictures"
export const several = (number, one) => `${count(number)} ${one}${number === 1 ? "" : "s"}`;

// As the command line has it: never 0 or 1, since nothing that was measured is certain.
export function chance(p, digits = 2) {
  const least = 10 ** -digits;
  if (p < least / 2) return `<${least.toFixed(digits)}`;
  if (p >= 1 - least / 2) return `>${(1 - least).toFixed(digits)}`;
  return p.toFixed(digits);
}

export const named = (item) => item.path.split("/").pop();

export function day(value) {
  if (!value) return "";
  return typeof value === "string" ? value.slice(0, 10) : new Date(value * 1000).toISOString().slice(0, 10);
}

export function banner(text, ...actions) {
  const place = $("#banner");
  place.replaceChildren(text ? make("span", {}, text + " ") : "", ...actions);
  place.hidden = !text;
}

export function download(name, content, type = "text/plain") {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // plain http has no clipboard interface
    const area = make("textarea", { "aria-label": "To copy" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied");
}

// A question or a form, above everything; Escape leaves it.
export function dialog(title, ...children) {
  const box = make("dialog", { "aria-label": title }, make("h2", {}, title), ...children);
  document.body.append(box);
  box.addEventListener("close", () => box.remove());
  box.showModal();
  return box;
}

// What went wrong, in the service's sentence.
export function trouble(error, title = "Not done") {
  dialog(title, make("p", { role: "alert" }, error.message || error), closing("close"));
}

// A table as spreadsheets and `retrieval attach` read it.
export const csv = (head, rows) => [head, ...rows.map((row) => row.map((text) => `"${text.replace(/"/g, '""')}"`).join(",")), ""].join("\r\n");

export const later = (wait, job) => {
  let timer = 0;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => job(...values), wait); };
};
