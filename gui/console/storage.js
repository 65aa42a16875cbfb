// What this browser keeps: questions, answers and the ids of jobs, per user; never a token.

const ROOT = "tl-fif";
const KEPT_MS = 30 * 86_400_000;
const KEPT_ENTRIES = 200;
const DROPPED_AT_ONCE = 20;

// `localStorage` or `sessionStorage`, or what is forgotten where the browser has none for us.
export function shelf(name) {
  try {
    return globalThis[name];
  } catch {
    const kept = new Map();
    return {
      get length() { return kept.size; },
      key: (at) => [...kept.keys()][at],
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, text) => kept.set(key, text),
      removeItem: (key) => kept.delete(key),
    };
  }
}

const read = (storage, key) => {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null;
  }
};

const keys = (storage, prefix) => {
  const found = [];
  for (let at = 0; at < storage.length; at += 1) {
    const key = storage.key(at);
    if (key.startsWith(prefix)) found.push(key);
  }
  return found;
};

const shaped = (entry) =>
  entry !== null && typeof entry === "object" && typeof entry.id === "string" &&
  typeof entry.conversation === "string" && typeof entry.question === "string" &&
  typeof entry.status === "string" && Number.isFinite(entry.at) &&
  typeof (entry.reply ?? { text: "" }).text === "string" &&
  typeof (entry.job ?? { id: "" }).id === "string";

// One user's entries: each has a key of its own, so that two tabs never write over one another.
// `storage` is shared by all tabs and survives them, `tab` is this tab's and survives a reload.
export class Store {
  #storage;
  #tab;
  #prefix;

  constructor(storage, tab, sub, now = Date.now()) {
    this.#storage = storage;
    this.#tab = tab;
    this.#prefix = `${ROOT}.${sub}.`;
    this.#forgetOld(now);
  }

  #key = (entry) => `${this.#prefix}entry.${entry.conversation}.${entry.id}`;

  #all() {
    return keys(this.#storage, `${this.#prefix}entry.`)
      .map((key) => read(this.#storage, key))
      .filter(shaped)
      .sort((one, other) => one.at - other.at);
  }

  entries(conversation) {
    return this.#all().filter((entry) => entry.conversation === conversation);
  }

  // [{id, title, at}] of every conversation, the latest first.
  conversations() {
    const found = new Map();
    for (const { conversation: id, question, at } of this.#all()) {
      found.set(id, { id, title: found.get(id)?.title ?? question, at });
    }
    return [...found.values()].sort((one, other) => other.at - one.at);
  }

  // Keeps an entry as it is now; false when the browser does not let us.
  put(entry) {
    const text = JSON.stringify(entry);
    for (const last of [false, true]) {
      try {
        this.#storage.setItem(this.#key(entry), text);
        return true;
      } catch {
        if (last) break;
        const old = this.#all().filter((each) => each.id !== entry.id);
        this.#drop(old.slice(0, DROPPED_AT_ONCE));
      }
    }
    return false;
  }

  clear() {
    for (const key of keys(this.#storage, this.#prefix)) this.#storage.removeItem(key);
  }

  // A setting of the user's, or of this tab alone.
  get(name, { tab = false } = {}) {
    return read(tab ? this.#tab : this.#storage, this.#prefix + name);
  }

  set(name, value, { tab = false } = {}) {
    try {
      (tab ? this.#tab : this.#storage).setItem(this.#prefix + name, JSON.stringify(value));
    } catch {
      // A convenience only.
    }
  }

  #drop(entries) {
    for (const entry of entries) this.#storage.removeItem(this.#key(entry));
  }

  // Every user's: whoever does not come back does not clean up either.
  #forgetOld(now) {
    for (const key of keys(this.#storage, `${ROOT}.`)) {
      if (!key.includes(".entry.")) continue;
      const entry = read(this.#storage, key);
      if (!shaped(entry) || now - entry.at > KEPT_MS) this.#storage.removeItem(key);
    }
    this.#drop(this.#all().slice(0, -KEPT_ENTRIES));
  }
}

// Which conversations are this tab's: one belongs to one tab at a time.
export class Claims {
  #prefix;
  #held = new Map();

  constructor(prefix) {
    this.#prefix = prefix;
  }

  // Whether it is this tab's now.
  take(conversation) {
    if (!globalThis.navigator?.locks || this.#held.has(conversation)) return Promise.resolve(true);
    return new Promise((resolve) => {
      const keep = (lock) => {
        resolve(Boolean(lock));
        return lock && new Promise((release) => this.#held.set(conversation, release));
      };
      const name = this.#prefix + conversation;
      const asked = navigator.locks.request(name, { ifAvailable: true }, keep);
      asked.catch(() => resolve(true));
    });
  }

  // Lets go of one, or of all.
  release(conversation) {
    const ids = conversation === undefined ? [...this.#held.keys()] : [conversation];
    for (const id of ids) {
      this.#held.get(id)?.();
      this.#held.delete(id);
    }
  }
}
