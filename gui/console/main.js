// Reads the configuration, signs people in and out, and gives them the room to talk in.

import { Api, Problem, ServerClock } from "./api.js";
import { Chat } from "./chat.js";
import { Session } from "./cognito.js";
import { explain } from "./errors.js";
import { Store, shelf } from "./storage.js";

const $ = (id) => document.getElementById(id);
const TOLD = ["apiUrl", "cognitoUrl", "clientId", "userPoolId"];
const SHORTEST_PASSWORD = 12;

const clock = new ServerClock();
let config = null;
let session = null;
let chat = null;
let lastEmail = "";

function complain(error) {
  const { says, todo } = explain(error);
  $("entrance-alert").textContent = `${says} ${todo}`;
}

const isUrl = (text) => {
  try {
    return ["https:", "http:"].includes(new URL(text).protocol);
  } catch {
    return false;
  }
};

// The configuration. Raises Problem `no_config`, with what is wrong with it.
async function configuration() {
  let found;
  try {
    const response = await fetch("./config.json", { cache: "no-store" });
    if (!response.ok) throw new Problem("no_config", { message: "is missing beside this page." });
    found = await response.json();
  } catch (error) {
    if (error instanceof Problem) throw error;
    const why = error instanceof SyntaxError ? "is no JSON." : "could not be read.";
    throw new Problem("no_config", { message: why });
  }
  for (const name of TOLD) {
    const value = found?.[name];
    if (typeof value !== "string" || !value || (name.endsWith("Url") && !isUrl(value))) {
      const shown = JSON.stringify(value)?.slice(0, 80);
      const what = shown ? `has ${name} = ${shown}, which is no use.` : `has no ${name}.`;
      throw new Problem("no_config", { message: what });
    }
  }
  return found;
}

const unread = configuration();
// It is asked for again below, by whoever signs in.
unread.then(showStack, complain);

function showStack(found) {
  config = found;
  const name = typeof found.stack === "string" ? found.stack : "";
  $("stack").textContent = name;
  if (name) document.title = `tl-fif ${name}`;
}

// Runs a form's work once at a time, its button busy meanwhile, its error told.
function onSubmit(form, work) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.getAttribute("aria-busy") === "true") return;
    form.setAttribute("aria-busy", "true");
    $("entrance-alert").textContent = "";
    try {
      await work();
    } catch (error) {
      complain(error);
      form.querySelector("input[type=password]").focus();
    } finally {
      form.removeAttribute("aria-busy");
    }
  });
}

const missing = (field, message) => {
  field.focus();
  field.setAttribute("aria-invalid", "true");
  field.addEventListener("input", () => field.removeAttribute("aria-invalid"), { once: true });
  $("entrance-alert").textContent = message;
};

onSubmit($("sign-in"), async () => {
  const email = $("email").value.trim();
  const password = $("password").value;
  if (!email) return missing($("email"), "Write your e-mail address.");
  if (!password) return missing($("password"), "Write your password.");
  config ??= await configuration();
  session = new Session(config, { onClock: (ms) => clock.see(ms) });
  const asksForNew = await session.signIn(email, password);
  $("password").value = "";
  lastEmail = email;
  if (asksForNew) return chooseForm("new-password", "chosen");
  return enter();
});

onSubmit($("new-password"), async () => {
  const chosen = $("chosen").value;
  if (chosen.length < SHORTEST_PASSWORD) {
    return missing($("chosen"), `Take ${SHORTEST_PASSWORD} characters or more.`);
  }
  if (chosen !== $("repeated").value) return missing($("repeated"), "The two are not the same.");
  try {
    await session.setPassword(chosen);
  } catch (error) {
    // The pool gives three minutes for it.
    if (["NotAuthorizedException", "CodeMismatchException"].includes(error.code)) {
      chooseForm("sign-in", "password");
    }
    throw error;
  }
  return enter();
});

function chooseForm(id, field) {
  for (const each of ["sign-in", "new-password"]) $(each).hidden = each !== id;
  for (const each of ["password", "chosen", "repeated"]) $(each).value = "";
  $(field).focus();
}

async function enter() {
  const { sub } = session;
  const api = new Api(config, session, { clock });
  const store = new Store(shelf("localStorage"), shelf("sessionStorage"), sub);
  chat = new Chat({ api, store, clock, sub, onSignInNeeded: (problem) => leave(problem) });
  await chat.start();
  $("entrance").hidden = true;
  $("room").hidden = false;
  $("account").hidden = false;
  $("who").textContent = lastEmail;
  $("prompt").focus();
  $("talk").scrollIntoView({ block: "end" });
}

// Back to the entrance; `problem` says why, unless somebody wanted it.
function leave(problem) {
  if (!chat) return;
  chat.stop();
  chat = null;
  session.signOut();
  session = null;
  $("room").hidden = true;
  $("account").hidden = true;
  $("entrance").hidden = false;
  $("entrance-alert").textContent = "";
  if (!problem) $("email").value = "";
  chooseForm("sign-in", problem ? "password" : "email");
  if (problem) complain(problem);
}

$("sign-out").addEventListener("click", () => leave(null));
