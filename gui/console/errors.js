// Every refusal in plain words: what happened, what to do, and whether the page tries again itself.

const STYLE = { dateStyle: "medium", timeStyle: "short" };

// A time as people read it, in their own zone; the text itself where it is none.
export function moment(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? String(text) : date.toLocaleString("en-GB", STYLE);
}

// Seconds in words: `8 s`, `1 min 20 s`, `2 h 5 min`.
export function duration(seconds) {
  const s = Math.max(0, Math.ceil(seconds));
  if (s < 100) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

const sentence = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`);
const told = (problem, otherwise) => (problem.message ? sentence(problem.message) : otherwise);
const because = (problem) => (problem.details.reason ? ` (${problem.details.reason})` : "");

const BY_HAND = "Try again in a while.";
const SIGN_IN = "Sign in again; your conversation is kept.";
const OPERATOR = "Tell whoever runs this stack.";

// Cognito has one name for all of these; the last stands for a user that is not there, too.
const REFUSALS = [
  [/expired/i, "The temporary password has expired.", "Ask whoever runs this stack for a new one."],
  [/attempts/i, "Too many wrong passwords.", "Wait some minutes, then try again."],
  [/disabled/i, "This user is disabled.", OPERATOR],
  [/(?:)/, "E-mail or password is wrong.", "Check both; make user makes users of a stack."],
];
const WRONG = REFUSALS.at(-1);
const refusal = ({ message }) => REFUSALS.find(([pattern]) => pattern.test(message));

// Each row: what it `says` and what to `do`, a text or a function of the problem. `tries` is how
// often the page sends again by itself, `waitS` after how long when the server does not say; none:
// it is left to a hand. `signIn` has the person sign in anew.
export const ERRORS = {
  invalid_request: {
    says: (problem) => {
      const { field } = problem.details;
      return field
        ? `The API does not take “${field}”: ${told(problem, "it was refused.")}`
        : `The API refused the question. ${told(problem, "")}`;
    },
    do: "Change that, and send it again.",
  },
  bad_request: {
    says: (problem) => `The API could not read the request. ${told(problem, "")}`,
    do: "Reload this page and send it again.",
  },
  unauthorized: { says: "The API does not know who you are.", do: SIGN_IN, signIn: true },
  forbidden: {
    says: "Your sign-in is not valid any more, or may not do this.",
    do: SIGN_IN,
    signIn: true,
  },
  budget_exhausted: {
    says: (problem) => `This month's budget is spent${because(problem)}. Nothing more is started.`,
    do: ({ details: { until } }) =>
      `${until ? `It counts anew on ${moment(until)}.` : "It counts anew next month."} ` +
      "Whoever runs this stack can raise the cap before that.",
  },
  not_found: { says: "There is no such answer: it is gone, or somebody else's.", do: "Ask again." },
  too_large: { says: "That is too much for one request.", do: "Shorten the question." },
  unsupported_media_type: {
    says: "The API wants another kind of content than this page sent.",
    do: "Reload this page; if it stays, something between you and the API changes requests.",
  },
  rate_limited: {
    says: "You ask faster than one person may: 5 questions in a second, or 20 in a minute.",
    do: BY_HAND, tries: Infinity, waitS: 5,
  },
  throttled: { says: "Too many requests at once.", do: BY_HAND, tries: Infinity, waitS: 2 },
  quota_exceeded: {
    says: "You have made the requests of a whole day: 20,000.",
    do: "Come back after midnight UTC.",
  },
  storage_unavailable: {
    says: "The store of answers does not respond.", do: BY_HAND, tries: 5, waitS: 3,
  },
  queue_unavailable: { says: "The queue does not respond.", do: BY_HAND, tries: 5, waitS: 2 },
  queue_unhealthy: {
    says: (problem) => `The queue is not well. ${told(problem, "")}`, do: BY_HAND,
  },
  backlog_full: {
    says: "As many questions wait already as could be answered in time.",
    do: BY_HAND, tries: 3, waitS: 30,
  },
  no_capacity: {
    says: (problem) => `No GPU is to be had now. ${told(problem, "")}`,
    do: "Try again in some minutes.",
  },
  lane_unavailable: {
    says: (problem) => `Nobody is there to answer. ${told(problem, "")}`, do: OPERATOR,
  },
  nodes_broken: {
    says: (problem) => {
      const { since } = problem.details;
      return `GPU nodes have failed to start${since ? ` since ${moment(since)}` : ""}. ` +
        told(problem, "");
    },
    do: ({ retryAfterS }) =>
      `${retryAfterS ? `The next try is in ${duration(retryAfterS)}. ` : ""}${OPERATOR}`,
  },
  no_node: { says: "This stack has no GPU node yet: its image is not baked.", do: OPERATOR },
  authorizer_unavailable: {
    says: "Sign-ins cannot be checked at the moment.", do: BY_HAND, tries: 5, waitS: 5,
  },
  unavailable: { says: "The API failed for a moment.", do: BY_HAND, tries: 5, waitS: 5 },
  timeout: { says: "No answer came in time.", do: BY_HAND, tries: 3, waitS: 2 },
  internal: { says: "The API failed; the fault is ours.", do: BY_HAND, tries: 2, waitS: 3 },

  // What the API does not say itself.
  offline: {
    says: "This machine has no network.", do: "Try again when it is back.",
    tries: Infinity, waitS: 3,
  },
  unreachable: {
    says: (problem) => `Nothing answers at ${problem.message}.`,
    do: "Is the stack deployed, or make local running?",
    tries: 8, waitS: 4,
  },
  wordless: {
    says: "The API refused, and told the browser no reason: most likely too many requests.",
    do: BY_HAND, tries: 4, waitS: 3,
  },
  session_over: { says: "Your sign-in is over.", do: SIGN_IN, signIn: true },
  not_sent: { says: "The page was closed before the question was taken.", do: "Send it again." },
  doubtful: {
    says: "The question may have been accepted all the same.",
    do: "If you ask again, it may be answered twice.",
  },
  unknown: {
    says: (problem) =>
      `Something unforeseen came back${problem.status ? ` (${problem.status})` : ""}. ` +
      told(problem, ""),
    do: BY_HAND,
  },

  // Cognito's own.
  NotAuthorizedException: { says: (problem) => refusal(problem)[1], do: (it) => refusal(it)[2] },
  UserNotFoundException: { says: WRONG[1], do: WRONG[2] },
  UserNotConfirmedException: {
    says: "This user is not confirmed yet.",
    do: "Whoever runs this stack confirms users: aws cognito-idp admin-confirm-sign-up.",
  },
  PasswordResetRequiredException: {
    says: "This user's password has been reset.",
    do: "Ask whoever runs this stack for a new one: aws cognito-idp admin-set-user-password.",
  },
  TooManyRequestsException: {
    says: "Cognito has too many sign-ins at once.", do: "Wait a minute, then try again.",
  },
  LimitExceededException: {
    says: "You have tried too often.", do: "Wait some minutes, then try again.",
  },
  InvalidPasswordException: {
    says: (problem) => `That password is not accepted. ${told(problem, "")}`,
    do: "Take 12 characters or more, with small and capital letters and digits.",
  },
  ResourceNotFoundException: {
    says: "Cognito does not know this stack, or the sign-in took too long.",
    do: "Try again; if it stays, write config.json anew (make console).",
  },
  InvalidParameterException: {
    says: (problem) => `Cognito does not take that. ${told(problem, "")}`,
    do: "Check what you wrote.",
  },
  CodeMismatchException: { says: "That sign-in is over.", do: "Start again." },
  unknown_challenge: {
    says: (problem) => `Cognito asks for ${problem.message || "more"}, which this page cannot do.`,
    do: OPERATOR,
  },
  cognito_unreachable: {
    says: (problem) => `Nothing answers at ${problem.message}, where sign-ins are made.`,
    do: "Check your network; of a local cloud, whether make local runs.",
  },
  cognito_failed: { says: "Cognito failed.", do: BY_HAND },

  // config.json.
  no_config: {
    says: (problem) => `config.json ${told(problem, "is missing.")}`,
    do: "Write it by make console STACK=…, then reload this page.",
  },
};

const spoken = (part, problem) => (typeof part === "function" ? part(problem).trim() : part);

// {says, todo, tries, waitS, signIn} of a Problem, SignInError or any error: `tries` is 0 where the
// page does not send again by itself.
export function explain(problem) {
  const { code, status = 0, message = "", details = {}, retryAfterS = null } = problem;
  const it = { code, status, message, details, retryAfterS };
  const row = Object.hasOwn(ERRORS, code ?? "") ? ERRORS[code] : ERRORS.unknown;
  return {
    says: spoken(row.says, it),
    todo: spoken(row.do, it),
    tries: row.tries ?? 0,
    waitS: Math.max(1, it.retryAfterS ?? row.waitS ?? 1),
    signIn: Boolean(row.signIn),
  };
}

const REASONS = {
  __proto__: null,
  user: "You cancelled it.",
  stopped: "It was cancelled because the nodes were stopped.",
  unclaimed: "Nobody could take it in time.",
  silent: "Whoever wrote it has fallen silent.",
};

// How a reply ended, in a sentence; empty for one that is done and complete.
export function ending({ status, reason, error = "no reason was given" }) {
  const why = REASONS[reason] ?? (reason ? sentence(String(reason)) : "");
  if (status === "failed") return `It failed: ${sentence(String(error))}`;
  if (status === "expired") return `It expired. ${why}`.trim();
  if (status === "cancelled") return why || "It was cancelled.";
  return "";
}
