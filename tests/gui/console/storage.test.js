import assert from "node:assert/strict";
import test from "node:test";

import { Store } from "../../../gui/console/storage.js";

const NOW = Date.now();
const DAY = 86_400_000;

/** A Storage that takes so many letters. */
class Shelf {
  #kept = new Map();
  constructor(room = Infinity) {
    this.room = room;
  }
  get length() {
    return this.#kept.size;
  }
  key(at) {
    return [...this.#kept.keys()][at];
  }
  getItem(key) {
    return this.#kept.get(key) ?? null;
  }
  setItem(key, text) {
    let size = key.length + text.length;
    for (const [name, kept] of this.#kept) if (name !== key) size += name.length + kept.length;
    if (size > this.room) throw new DOMException("full", "QuotaExceededError");
    this.#kept.set(key, text);
  }
  removeItem(key) {
    this.#kept.delete(key);
  }
}

const entry = (id, more = {}) => ({
  id, conversation: "c", question: `question ${id}`, status: "done", at: NOW + Number(id), ...more,
});
const store = (shelf = new Shelf(), sub = "ann", tab = new Shelf()) => new Store(shelf, tab, sub, NOW);

test("entries come back in their order, after a reload too", () => {
  const shelf = new Shelf();
  for (const id of ["2", "1"]) store(shelf).put(entry(id));
  assert.deepEqual(store(shelf).entries("c").map(({ id }) => id), ["1", "2"]);
  assert.deepEqual(store(shelf).entries("other"), []);
});

test("another user sees nothing of it", () => {
  const shelf = new Shelf();
  store(shelf, "ann").put(entry("1"));
  store(shelf, "ann").set("draft", "secret");
  const other = store(shelf, "bob");
  assert.deepEqual([other.entries("c"), other.conversations(), other.get("draft")], [[], [], null]);
  other.clear();
  assert.equal(store(shelf, "ann").entries("c").length, 1);
});

test("conversations are named by their first question, the latest first", () => {
  const kept = store();
  kept.put(entry("1"));
  kept.put(entry("2", { conversation: "d" }));
  kept.put(entry("3"));
  const told = kept.conversations().map(({ id, title }) => [id, title]);
  assert.deepEqual(told, [["c", "question 1"], ["d", "question 2"]]);
});

test("two tabs write side by side", () => {
  const shelf = new Shelf();
  const [one, other] = [store(shelf), store(shelf)];
  one.put(entry("1"));
  other.put(entry("2"));
  one.put(entry("1", { status: "failed" }));
  assert.deepEqual(other.entries("c").map(({ status }) => status), ["failed", "done"]);
});

test("what is broken is no entry", () => {
  const shelf = new Shelf();
  shelf.setItem("tl-fif.ann.entry.c.x", "{");
  shelf.setItem("tl-fif.ann.entry.c.y", JSON.stringify({ id: 5 }));
  shelf.setItem("tl-fif.ann.entry.c.z", "null");
  for (const more of [{ reply: 7 }, { reply: { text: 7 } }, { job: "x" }]) {
    store(shelf).put(entry("1", more));
    assert.deepEqual(store(shelf).entries("c"), [], JSON.stringify(more));
  }
  assert.deepEqual(store(shelf).entries("c"), []);
});

test("a month later it is gone, whoever's it was", () => {
  const shelf = new Shelf();
  store(shelf).put(entry("1", { at: NOW - 31 * DAY }));
  store(shelf).put(entry("2"));
  store(shelf, "bob");
  assert.equal(shelf.length, 1);
});

test("when there is no room, the oldest make way; when there is none at all, it says so", () => {
  const shelf = new Shelf(4_000);
  const kept = store(shelf);
  for (let id = 1; id <= 40; id += 1) assert.ok(kept.put(entry(String(id))), `entry ${id}`);
  assert.equal(kept.entries("c").at(-1).id, "40");
  assert.equal(store(new Shelf(10)).put(entry("1")), false);
  store(new Shelf(10)).set("draft", "no harm");
});

test("a draft is its tab's, a setting every tab's", () => {
  const [shelf, tab] = [new Shelf(), new Shelf()];
  store(shelf, "ann", tab).set("draft", "hm", { tab: true });
  store(shelf, "ann", tab).set("idle", "7");
  assert.equal(store(shelf, "ann", tab).get("draft", { tab: true }), "hm");
  assert.equal(store(shelf, "ann").get("draft", { tab: true }), null);
  assert.equal(store(shelf, "ann").get("idle"), "7");
});
