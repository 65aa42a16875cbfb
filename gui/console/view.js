// A question and its answer as an article. What people and models write becomes text nodes only.

import { MAX_BYTES, bytes, idleMinutes, wellFormed, wrong } from "./conversation.js";
import { duration, ending } from "./errors.js";
import { growth, isFinal } from "./judge.js";

const LANES = {
  __proto__: null,
  "llama.cpp-lambda": "instant lane",
  vllm: "GPU node",
  "llama.cpp": "node (llama.cpp)",
};
const HEARD = 60;
const COUNTED_FROM = 0.8 * MAX_BYTES;
const EXAMPLES = [
  "What is the capital of France? Answer in one sentence.",
  "Explain what a GPU does, for a ten-year-old.",
  "Write a haiku about a server that sleeps.",
];

const $ = (id) => document.getElementById(id);

export function make(tag, className = "", content = [], attributes = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...[content].flat());
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export const pair = ([name, text]) =>
  make("div", "", [make("dt", "", name), " ", make("dd", "", text), " "]);

// EUR with as many digits as say something: `€0.0000042`, `€1.25`.
export function euros(amount) {
  const small = amount !== 0 && Math.abs(amount) < 1;
  const style = small
    ? { maximumSignificantDigits: 2 }
    : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return `€${amount.toLocaleString("en", style)}`;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// [name, text] of what an answer says about itself.
export function figures(reply) {
  const rows = [];
  if (reply.engine) rows.push(["Lane", LANES[reply.engine] ?? String(reply.engine)]);
  if (isNumber(reply.eur)) rows.push(["Cost", euros(reply.eur)]);
  if (isNumber(reply.tokens_per_second)) {
    rows.push(["Speed", `${reply.tokens_per_second} tokens/s`]);
  }
  if (isNumber(reply.completion_tokens)) rows.push(["Length", `${reply.completion_tokens} tokens`]);
  if (isNumber(reply.first_token_at) && isNumber(reply.created_at)) {
    rows.push(["First word", `after ${seconds(reply.first_token_at - reply.created_at)}`]);
  }
  if (isNumber(reply.finished_at) && isNumber(reply.created_at)) {
    rows.push(["Whole answer", `after ${seconds(reply.finished_at - reply.created_at)}`]);
  }
  return rows;
}

function seconds(ms) {
  return ms < 100_000 ? `${(Math.max(0, ms) / 1000).toFixed(1)} s` : duration(ms / 1000);
}

// The article of one entry; `acts` has again(entry) and edit(entry).
export class Article {
  #shown = "";
  #steps = "";

  constructor(entry, number, acts) {
    this.entry = entry;
    this.#build(number, acts);
    this.update();
  }

  #build(number, { again, edit }) {
    const start = this.entry.question.trim().slice(0, HEARD);
    this.text = make("div", "text", [], { dir: "auto" });
    this.wake = make("div", "wake", [], { hidden: "" });
    this.note = make("p", "note", [], { hidden: "" });
    this.figures = make("dl", "figures", [], { hidden: "" });
    this.buttons = make("div", "row buttons", [], { hidden: "" });
    this.again = this.#button("Try again", () => again(this.entry));
    this.edit = this.#button("Edit", () => edit(this.entry));
    this.copy = this.#button("Copy", () => this.#copy());
    const label = (words) => make("p", "who", words);
    this.answer = make("div", "answer", [
      label("Answer"), this.wake, this.text, this.note, this.figures, this.buttons,
    ]);
    const question = make("div", "question", [
      label("You"), make("div", "text", this.entry.question, { dir: "auto" }),
    ]);
    this.article = make("article", "turn", [question, this.answer], {
      "aria-label": `Question ${number}: ${start}`,
    });
    this.element = make("li", "", this.article);
  }

  #button(name, act) {
    const button = make("button", "quiet", name, { type: "button" });
    button.addEventListener("click", act);
    return button;
  }

  async #copy() {
    const copied = navigator.clipboard.writeText(this.#shown);
    this.copy.textContent = await copied.then(() => "Copied", () => "Could not be copied");
    setTimeout(() => (this.copy.textContent = "Copy"), 2_000);
  }

  // Shows the entry as it is now; `trouble` is what keeps it from being read.
  update(trouble = "") {
    const { entry } = this;
    const { reply = null, status } = entry;
    const over = isFinal(reply) || ["refused", "withdrawn"].includes(status);
    this.#write(reply?.text ?? "", over);
    this.article.classList.toggle("running", !over);
    if (over || this.#shown) this.hideWake();
    this.#showNote(reply, status, trouble);
    this.#fill(this.figures, reply && isFinal(reply) ? figures(reply) : []);
    const failed = ["refused", "withdrawn", "failed", "expired", "cancelled"].includes(status);
    const shown = [
      ...(failed ? [this.again, this.edit] : []),
      ...(over && this.#shown ? [this.copy] : []),
    ];
    this.buttons.replaceChildren(...shown);
    this.buttons.hidden = !shown.length;
  }

  // A screen reader hears an answer once, when it is whole: until then it is busy.
  #write(text, over) {
    if (!over) this.text.setAttribute("aria-live", "polite");
    const { again, rest } = growth(this.#shown, text);
    if (again) {
      this.text.replaceChildren(rest);
      if (this.#shown) this.begunAgain = true;
    } else if (rest) {
      this.text.append(rest);
    }
    this.#shown = text;
    this.text.setAttribute("aria-busy", String(!over));
  }

  #showNote(reply, status, trouble) {
    const said = [];
    if (this.begunAgain) said.push("Another worker began this answer again.");
    if (this.entry.dropped) {
      const turns = this.entry.dropped === 1 ? "turn was" : "turns were";
      said.push(`${this.entry.dropped} earlier ${turns} left out, to keep within 6,000 bytes.`);
    }
    const error = this.told ? "It was not answered." : this.entry.error ?? "It was refused.";
    if (status === "refused") said.push(error);
    if (status === "withdrawn") said.push("You took it back before it was sent.");
    said.push(trouble);
    if (reply && isFinal(reply)) said.push(ending(reply));
    if (reply?.notice) said.push(`Note: ${reply.notice}.`);
    const text = said.filter(Boolean).join(" ");
    if (this.note.textContent !== text) this.note.textContent = text;
    this.note.hidden = !text;
    this.note.classList.toggle("bad", ["refused", "failed", "expired"].includes(status));
  }

  #fill(list, rows) {
    list.hidden = !rows.length;
    list.replaceChildren(...rows.map(pair));
  }

  // What it waits for: a sentence, a countdown and the steps of a boot (see eta.js).
  showWake(sentence, { text = "", word = "" }, steps) {
    if (this.#shown) return this.hideWake();
    if (!this.wake.childElementCount) {
      this.sentence = make("p", "sentence");
      this.clock = make("p", "clock", [], { role: "timer", "aria-live": "off" });
      this.word = make("p", "word");
      this.rail = make("ol", "rail", [], { role: "list", "aria-label": "Steps of the boot" });
      this.wake.append(this.clock, this.word, this.sentence, this.rail);
    }
    this.wake.hidden = false;
    const put = (element, text) => {
      if (element.textContent !== text) element.textContent = text;
      element.hidden = !text;
    };
    put(this.sentence, sentence);
    put(this.clock, text);
    put(this.word, word);
    this.#showSteps(steps);
  }

  #showSteps(steps) {
    const key = JSON.stringify(steps);
    if (key === this.#steps) return;
    this.#steps = key;
    const current = steps.find((step) => step.reachedS === null)?.step;
    this.rail.hidden = !steps.length;
    this.rail.replaceChildren(...steps.map((step) => railStep(step, step.step === current)));
  }

  hideWake() {
    this.wake.hidden = true;
  }
}

function railStep({ label, measuredS, reachedS }, current) {
  const done = reachedS !== null;
  const at = done ? reachedS : measuredS;
  const text = at === null ? "" : `${done ? "" : "≈ "}${duration(Math.round(at))}`;
  const when = make("span", "at", text);
  const item = make("li", done ? "done" : current ? "now" : "", [label, " ", when]);
  if (current) item.setAttribute("aria-current", "step");
  return item;
}

export class Desk {
  #store;

  constructor(store, signal, send) {
    this.#store = store;
    const on = (id, event, act) => $(id).addEventListener(event, act, { signal });
    on("ask", "submit", (event) => {
      event.preventDefault();
      send();
    });
    on("prompt", "keydown", (event) => {
      // An input method's Enter ends a word, not the question; 229 is how old ones say so.
      const composing = event.isComposing || event.keyCode === 229;
      if (event.key !== "Enter" || event.shiftKey || composing) return;
      event.preventDefault();
      send();
    });
    on("prompt", "input", () => this.#count());
    on("idle", "change", () => store.set("idle", $("idle").value));
    const example = (text) => {
      const button = make("button", "example", text, { type: "button" });
      button.addEventListener("click", () => this.draft(text));
      return button;
    };
    $("examples").replaceChildren(...EXAMPLES.map(example));
    $("idle").value = store.get("idle") ?? 5;
    $("prompt").value = store.get("draft", { tab: true }) ?? "";
    this.#count();
  }

  // {question, idle}, or {bad, field}: what is wrong with which.
  read() {
    const question = wellFormed($("prompt").value);
    const idle = idleMinutes($("idle").value);
    if (wrong(question)) return { bad: wrong(question), field: "prompt" };
    const bad = "Idle minutes: a whole number from 1 to 30.";
    return Number.isNaN(idle) ? { bad, field: "idle" } : { question, idle };
  }

  draft(text) {
    $("prompt").value = text;
    this.#count();
    $("prompt").focus();
  }

  clear() {
    $("prompt").value = "";
  }

  #count() {
    const text = $("prompt").value;
    this.#store.set("draft", text, { tab: true });
    const size = bytes(text);
    const told = `${size.toLocaleString("en")} of ${MAX_BYTES.toLocaleString("en")} bytes`;
    $("count").textContent = size > COUNTED_FROM ? told : "";
    $("count").classList.toggle("over", size > MAX_BYTES);
  }
}
