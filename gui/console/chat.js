// The conversation: asks, follows answers to their end, and takes up again what a reload broke off.

import { Answers, compose, isUnfinished } from "./conversation.js";
import { duration, ending, explain } from "./errors.js";
import { Countdown, firstWordInS, nodeNow, steps, waitingFor } from "./eta.js";
import { Panel, StatusFeed, rest, sure } from "./panel.js";
import { Claims } from "./storage.js";
import { Article, Desk, make } from "./view.js";

const $ = (id) => document.getElementById(id);
const TICK_MS = 500;
const NEAR_PX = 120;
const ONE_AT_A_TIME = "One answer at a time: what you have written is kept until this one ends.";

// One signed-in person's conversations in this tab.
export class Chat {
  #api;
  #store;
  #clock;
  #onSignInNeeded;
  #answers;
  #desk;
  #feed;
  #panel;
  #status = null;
  #current = "";
  #opened = new Map(); // conversation → its entries, which runs and articles share
  #articles = new Map(); // entry's id → its article, of the current conversation
  #countdowns = new Map(); // entry's id → its countdown
  #claims;
  #listening = new AbortController();
  #timer = null;
  #said = "";
  #told = null; // the article whose error the alert says

  constructor({ api, store, clock, sub, onSignInNeeded }) {
    this.#api = api;
    this.#store = store;
    this.#clock = clock;
    this.#claims = new Claims(`tl-fif.talk.${sub}.`);
    this.#onSignInNeeded = onSignInNeeded;
    this.#answers = new Answers({
      api,
      serverMs: () => clock.now(),
      now: () => performance.now(),
      rest,
      hidden: () => document.visibilityState === "hidden",
      keep: (entry) => this.#keep(entry),
      changed: (entry) => this.#changed(entry),
      complain: (problem) => this.#complain(problem),
    });
    this.#panel = new Panel($("spend"));
    this.#feed = new StatusFeed(api, `tl-fif.status.${api.url}.${sub}`, {
      heard: (status) => this.#heard(status),
      troubled: (problem) => this.#statusTroubled(problem),
    });
  }

  async start() {
    this.#alert("");
    await this.#openFirst();
    this.#listen();
    this.#feed.start();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#resumeOthers();
  }

  stop() {
    this.#listening.abort();
    clearInterval(this.#timer);
    this.#feed.stop();
    this.#answers.leave();
    this.#claims.release();
    this.#articles.clear();
    for (const id of ["history", "conversations", "spend", "state"]) $(id).replaceChildren();
    this.#desk.clear();
    this.#alert("");
    if ($("sure").open) $("sure").close("no");
  }

  #listen() {
    const { signal } = this.#listening;
    const on = (id, event, act) => $(id).addEventListener(event, act, { signal });
    this.#desk = new Desk(this.#store, signal, () => this.#send());
    on("cancel", "click", () => this.#cancel());
    on("stop", "click", () => this.#stopNode());
    on("new", "click", () => this.#open(crypto.randomUUID(), { focus: true }));
    on("forget", "click", () => this.#forget());
  }

  #send() {
    // Twice Enter is once too often, and no more.
    if (this.#running()) return $("prompt").value && this.#alert(ONE_AT_A_TIME);
    const { question, idle, bad, field } = this.#desk.read();
    this.#alert(bad ?? "");
    if (bad) return $(field).focus();
    const id = crypto.randomUUID();
    const entry = { id, conversation: this.#current, at: Date.now(), question, idle };
    this.#entries().push(entry);
    this.#ask(entry);
    this.#desk.draft("");
    return this.#showConversations();
  }

  // Asks an entry's question, for the first time or anew.
  #ask(entry) {
    const entries = this.#entries();
    const { body, dropped } = compose(entries.slice(0, entries.indexOf(entry)), entry.question);
    if (entry.idle) body.idle_minutes = entry.idle;
    Object.assign(entry, { body, dropped, key: crypto.randomUUID(), status: "sending" });
    entry.doubtful = false;
    Object.assign(entry, { asked: Date.now(), job: null, reply: null, error: null });
    this.#said = "";
    this.#keep(entry);
    if (!this.#articles.has(entry.id)) this.#add(entry);
    this.#follow(entry);
    this.#scroll();
  }

  async #cancel() {
    const entry = this.#running();
    if (!entry) return;
    $("prompt").focus();
    const cancelling = this.#answers.cancel(entry);
    this.#tick();
    try {
      await cancelling;
    } catch (problem) {
      this.#complain(problem);
    }
  }

  async #stopNode() {
    const wanted = await sure({
      title: "Stop the GPU node?",
      text:
        "Every unfinished answer of this stack is cancelled, other people's too, and all of its " +
        "nodes stop. Nothing is lost but those answers; the next question starts a node again.",
      yes: "Stop now",
      no: "Let it run",
    });
    if (!wanted) return;
    try {
      const { jobs = 0, nodes } = await this.#api.stop();
      const stopped = nodes === undefined ? "nodes stop soon" : `nodes stopping: ${nodes}`;
      this.#say(`Stopped. Answers cancelled: ${jobs}; ${stopped}.`);
    } catch (problem) {
      this.#complain(problem);
    }
    this.#feed.hurry({ now: true });
  }

  async #forget() {
    const wanted = await sure({
      title: "Forget all conversations?",
      text: "Questions and answers that this browser keeps of yours are deleted.",
      yes: "Forget them",
      no: "Keep them",
    });
    if (!wanted) return;
    this.#answers.leave();
    this.#store.clear();
    this.#opened.clear();
    await this.#open(crypto.randomUUID(), { focus: true });
  }

  #entries(conversation = this.#current) {
    if (!this.#opened.has(conversation)) {
      this.#opened.set(conversation, this.#store.entries(conversation));
    }
    return this.#opened.get(conversation);
  }

  async #openFirst() {
    const last = this.#store.get("conversation", { tab: true });
    const latest = this.#store.conversations()[0]?.id;
    for (const id of [last, latest]) {
      if (typeof id === "string" && (await this.#open(id, { quiet: true }))) return;
    }
    await this.#open(crypto.randomUUID());
  }

  async #resumeOthers() {
    for (const { id } of this.#store.conversations()) {
      if (id === this.#current || !this.#store.entries(id).some(isUnfinished)) continue;
      if (!(await this.#claims.take(id))) continue;
      this.#resume(id);
      this.#letGo(id);
    }
  }

  #letGo(id) {
    if (id === this.#current || this.#entries(id).some(isUnfinished)) return;
    this.#claims.release(id);
    this.#opened.delete(id);
  }

  #resume(conversation) {
    for (const entry of this.#entries(conversation).filter(isUnfinished)) this.#follow(entry);
  }

  async #open(conversation, { quiet = false, focus = false } = {}) {
    if (!(await this.#claims.take(conversation))) {
      if (!quiet) this.#alert("That conversation is open in another tab.");
      return false;
    }
    const before = this.#current;
    this.#current = conversation;
    this.#letGo(before);
    this.#store.set("conversation", conversation, { tab: true });
    this.#articles.clear();
    $("history").replaceChildren();
    for (const entry of this.#entries()) this.#add(entry);
    this.#resume(conversation);
    this.#showConversations();
    this.#tick();
    this.#scroll();
    if (focus) $("prompt").focus();
    return true;
  }

  #showConversations() {
    const item = ({ id, title }) => {
      const button = make("button", "past-one", title.trim().slice(0, 60), { type: "button" });
      if (id === this.#current) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => this.#open(id, { focus: true }));
      return make("li", "", button);
    };
    $("conversations").replaceChildren(...this.#store.conversations().map(item));
    $("empty").hidden = this.#entries().length > 0;
  }

  #add(entry) {
    const acts = {
      again: (it) => {
        if (this.#running()) return this.#alert(ONE_AT_A_TIME);
        this.#alert("");
        $("prompt").focus();
        return this.#ask(it);
      },
      edit: ({ question }) => {
        this.#desk.draft([question, $("prompt").value].filter(Boolean).join("\n\n"));
      },
    };
    const article = new Article(entry, this.#articles.size + 1, acts);
    this.#articles.set(entry.id, article);
    $("history").append(article.element);
    $("empty").hidden = true;
  }

  #running() {
    return this.#entries().find((entry) => this.#answers.run(entry));
  }

  async #follow(entry) {
    this.#feed.hurry();
    const following = this.#answers.follow(entry);
    this.#tick();
    const outcome = await following;
    if (!outcome || outcome.how === "left") return;
    this.#countdowns.delete(entry.id);
    this.#letGo(entry.conversation);
    this.#atEndStill(() => this.#end(entry, outcome));
    this.#feed.hurry({ now: true });
  }

  #end(entry, { how, error }) {
    this.#articles.get(entry.id)?.update();
    if (how === "refused") this.#refused(entry, error);
    else if (entry.conversation === this.#current) this.#tellEnd(entry);
    this.#tick();
  }

  #refused(entry, error) {
    const article = this.#articles.get(entry.id);
    if (article) article.told = true;
    article?.update();
    this.#complain(error);
    if (article) this.#told = article;
  }

  #tellEnd({ status, reply }) {
    if ($("alert").textContent === ONE_AT_A_TIME) this.#alert("");
    if (status === "withdrawn") return this.#say("It was taken back before it was sent.");
    if (["failed", "expired"].includes(status)) this.#alert(ending(reply));
    return this.#say(status === "done" ? "The answer is finished." : ending(reply));
  }

  #changed(entry) {
    const { trouble } = this.#answers.run(entry);
    const words = trouble && `${trouble} The answer is not lost: it is looked for again.`;
    this.#atEndStill(() => this.#articles.get(entry.id)?.update(words));
    this.#tick();
  }

  #keep(entry) {
    if (this.#store.put(entry)) return;
    this.#alert("This browser keeps nothing: the conversation is gone when the page is closed.");
  }

  #heard(status) {
    this.#status = status;
    this.#panel.show(status);
    this.#tick();
  }

  #statusTroubled(problem) {
    this.#panel.trouble(problem);
    if (explain(problem).signIn) this.#onSignInNeeded(problem);
  }

  #complain(problem) {
    const { says, todo, signIn } = explain(problem);
    if (signIn) return this.#onSignInNeeded(problem);
    this.#say("");
    return this.#alert(`${says} ${todo}`);
  }

  #alert(text) {
    if (this.#told) this.#told.told = false;
    this.#told?.update();
    this.#told = null;
    if ($("alert").textContent !== text) $("alert").textContent = text;
  }

  // Says something that has happened, in front of what the node does.
  #say(text) {
    this.#said = text;
    this.#showState();
  }

  #tick() {
    this.#panel.age();
    const entry = this.#running();
    $("cancel").hidden = !entry;
    $("send").setAttribute("aria-disabled", String(Boolean(entry)));
    if (entry) {
      this.#feed.hurry();
      this.#atEndStill(() => this.#showWaiting(entry, this.#answers.run(entry)));
    }
    this.#showState();
  }

  #showState() {
    const entry = this.#running();
    const node = this.#status ? `The GPU node ${nodeNow(this.#status.node)}.` : "";
    const idle = [this.#said, node].filter(Boolean).join(" ");
    const text = entry ? this.#phase(entry, this.#answers.run(entry)) : idle;
    if ($("state").textContent !== text) $("state").textContent = text;
    // What its article says need not stand twice; it is heard all the same.
    $("state").classList.toggle("unseen", Boolean(entry && !entry.reply?.text));
  }

  #phase(entry, run) {
    if (run.cancelled) return "It is being cancelled.";
    if (run.retry) return `${run.retry.says} It is sent again by itself.`;
    if (!entry.job) return "The question is being sent.";
    if (entry.reply?.text) return "The answer is being written.";
    if (entry.reply) return "The question is being read.";
    return waitingFor(entry.job, this.#status);
  }

  #showWaiting(entry, run) {
    const article = this.#articles.get(entry.id);
    const now = performance.now();
    if (run.retry) {
      const seconds = duration((run.retry.at - now) / 1000);
      return article.showWake(run.retry.says, { text: `Sent again in ${seconds}` }, []);
    }
    const sentence = this.#phase(entry, run);
    if (!run.since || !this.#status) return article.showWake(sentence, {}, []);
    if (this.#status.node === "ready") this.#countdowns.delete(entry.id);
    if (!this.#countdowns.has(entry.id)) this.#countdowns.set(entry.id, new Countdown());
    const countdown = this.#countdowns.get(entry.id);
    const known = { serverMs: this.#clock.now(), sinceS: (now - run.since) / 1000 };
    countdown.update(firstWordInS(entry.job, this.#status, known), now);
    const { text, word } = countdown.read(now);
    const wakes = ["starting", "booting", "loading"].includes(this.#status.node);
    const rail = wakes ? steps(this.#status) : [];
    return article.showWake(sentence, { text: text && `First words ${text}`, word }, rail);
  }

  // Who has scrolled up to read is left there.
  #atEndStill(change) {
    const { bottom, height } = $("talk").getBoundingClientRect();
    change();
    const grown = $("talk").getBoundingClientRect().height > height;
    if (grown && bottom - window.innerHeight < NEAR_PX) this.#scroll();
  }

  #scroll() {
    $("talk").scrollIntoView({ block: "end" });
  }
}
