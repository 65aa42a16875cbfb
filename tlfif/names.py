"""Names, ports and limits that the program, functions, node and local cloud share."""

import re

# Tags that select this product's nodes (LAM-004); the stack tag tells dev from prod in one account.
ENV_TAG, ENV_VALUE = "env", "tinyllama"
STACK_TAG = "stack"
LATCH_TAG = "tlfif-budget-latch"
# Set on nodes by functions: the program leaves them as they are.
FOREIGN_TAGS = (LATCH_TAG,)

AMI_PARAMETER = "/tl-fif/latest_ami_id"
# What an image of the nodes is tagged with (EC2-002): whose it is, its version, when it was baked.
IMAGE_TAG, IMAGE_VERSION_TAG, IMAGE_DATE_TAG = "tl-fif:gpu-node", "tl-fif:version", "tl-fif:baked"
# Parameters of the delivery pipeline, encrypted: who signs in for the smoke test (JSON: email,
# password), and the webhook that hears of deployments. Not below /tl-fif: who may ask for that
# path, to find the image, may read whatever is below it, and AWS's own key decrypts for them.
SECRETS = "/tl-fif-secrets"
SMOKE_PARAMETER = f"{SECRETS}/smoke_user"
SLACK_PARAMETER = f"{SECRETS}/slack_webhook"
# The alias by which callers reach the router: which version it names is who deploys' decision.
ALIAS = "prod"
ACCESS_LOG_GROUP = "/apigw/tl-fif"

# CloudWatch metrics: one namespace a topic, written as embedded metric format on stdout.
NAMESPACE_ROUTER = "TLFIF/Router"
NAMESPACE_GPU = "TLFIF/GPU"
NAMESPACE_QUEUE = "TLFIF/Queue"
NAMESPACE_API = "TLFIF/Api"
NAMESPACE_COST = "TLFIF/Cost"
NAMESPACE_DELIVERY = "TLFIF/Delivery"
METRIC_SMOKE_UNSTABLE = "SmokeUnstable"
METRIC_RATE_LIMIT_BREACHES = "RateLimitBreaches"
METRIC_REDIS_ENQUEUE_FAIL = "RedisEnqueueFail"
METRIC_EC2_STARTS = "EC2Starts"
# Starts that came to nothing, refused or taken back; the line's code says why. One metric for all,
# because each costs.
METRIC_EC2_CAPACITY_ERRORS = "EC2StartCapacityErrors"
METRIC_AUTO_STOPS = "AutoStops"
METRIC_QUEUE_DEPTH = "QueueDepth"
METRIC_QUEUE_HEALTHY = "QueueHealthy"
METRIC_PING_SUCCESS = "PingSuccess"
METRIC_PING_LATENCY_MS = "PingLatencyMs"
METRIC_CURRENT_SPEND_EUR = "CurrentSpendEUR"
METRIC_BUDGET_STOPS = "BudgetStops"
METRIC_OLDEST_JOB_S = "OldestJobSeconds"
METRIC_GPU_HOURS_LEFT = "GpuHoursLeft"
METRIC_NODES_READY, METRIC_NODES_COMING = "NodesReady", "NodesComing"
METRIC_JOBS_DONE, METRIC_JOBS_FAILED = "JobsDone", "JobsFailed"
METRIC_JOBS_EXPIRED, METRIC_JOBS_CANCELLED = "JobsExpired", "JobsCancelled"
METRIC_DEAD_LETTERS = "DeadLetters"
# A boot's two parts: until the watcher runs, and from then until a completion has worked.
METRIC_BOOT_MACHINE_S, METRIC_BOOT_ENGINE_S = "BootMachineSeconds", "BootEngineSeconds"
METRIC_FAILED_BOOTS = "FailedBoots"
# What is emitted each minute, or with each run of a schedule; a metric is billed for the hours in
# which it is emitted, and all the others are only when something happens.
STEADY_METRICS = frozenset(
    {
        METRIC_QUEUE_DEPTH,
        METRIC_OLDEST_JOB_S,
        METRIC_QUEUE_HEALTHY,
        METRIC_PING_SUCCESS,
        METRIC_PING_LATENCY_MS,
        METRIC_CURRENT_SPEND_EUR,
        METRIC_GPU_HOURS_LEFT,
    }
)
# What the CloudWatch agent says of a node while it runs (gpu_image/cloudwatch-agent.json), by
# instance.
AGENT_METRICS = (
    "nvidia_smi_utilization_gpu",
    "nvidia_smi_memory_used",
    "nvidia_smi_memory_total",
)

# Limits of the HTTP surface (API-003, LAM-002, EC2-004).
MAX_PROMPT_BYTES = 6_000
# Of a conversation, whose contents have as many bytes together as a prompt may.
MAX_MESSAGES = 100
MAX_TOKENS = 1_024
# What prompt and answer may have together, unless model:contextLength says otherwise. How many
# tokens a prompt has only the engine knows, so the worker lowers max_tokens to what is left.
DEFAULT_CONTEXT_TOKENS = 2_048
MIN_TOP_P = 0.01  # vLLM wants more than 0, and API Gateway's schemas cannot say that
MIN_IDLE_MINUTES, MAX_IDLE_MINUTES, DEFAULT_IDLE_MINUTES = 1, 30, 5
BURST_PER_SECOND, SUSTAINED_PER_MINUTE = 5, 20
BACKLOG_PER_NODE = 500
# The stage's throttles, requests a second and burst: each method has its own. Far above what
# callers may have, so that a flood that is refused, and costs nothing, keeps nobody out. A
# preflight costs as much as any request, and anybody may send one.
STAGE_THROTTLE, PREFLIGHT_THROTTLE = (100.0, 300), (10.0, 100)
# By the names that API Gateway gives methods in a stage's settings, slashes escaped: of others it
# takes the settings, and does not apply them (terraform-provider-aws#9738).
PREFLIGHTS = (
    "~1infer/OPTIONS",
    "~1infer~1{id}/OPTIONS",
    "~1stop/OPTIONS",
    "~1status/OPTIONS",
)
CHECKED = ("~1ping/GET", "~1queue-health/GET")
THROTTLES: dict[str, tuple[float, int]] = {
    "*/*": STAGE_THROTTLE,
    **dict.fromkeys(PREFLIGHTS, PREFLIGHT_THROTTLE),
    **dict.fromkeys(CHECKED, STAGE_THROTTLE),
}
# What one caller may have of all routes together, requests a second and burst, and in a day: a
# console polls each second while it waits, and a forgotten one each second all day is too much.
CALLER_THROTTLE, CALLER_REQUESTS_PER_DAY = (10.0, 60), 20_000
# What drops to a trickle when the money ends: all but the health checks, which are paid for.
TRICKLING = tuple(path for path in THROTTLES if path not in CHECKED)
TRICKLING_METHODS = 5 + len(PREFLIGHTS)
BOOT_ETA_S, LONGEST_BOOT_S = 90, 900
# A warm POST /infer, within the router (LAM-005).
WARM_P95_MS = 60.0
# A shorter life could pass in booting: started again for the same jobs, and again.
MIN_LIFETIME_HOURS, MAX_LIFETIME_HOURS = 0.5, 24
# How long an engine may load, or be away, before its node gives up; a load takes 60 to 90 s.
MIN_BOOT_ALLOWANCE_MINUTES, MAX_BOOT_ALLOWANCE_MINUTES = 3, 60
DEFAULT_BOOT_ALLOWANCE_MINUTES = 10
# How the engine's launcher begins its lines in the engine's log, and the first of each start.
LAUNCHER, LAUNCHER_BEGINS = "serve: ", "serve: boot "
# How many sequences the engine works on at once (--max-num-seqs, tlfif/serving.py).
ENGINE_SEQUENCES = 32

# The queue (RED-003): one job lives this long unless a worker holds its lease.
JOB_TTL_S = 300
CANCELLED_TTL_S = 600
WITHDRAWN_TTL_S = 10
WAKE_TTL_S = 120
# EC2 shows what became of a start by then: a node that is stopped (again) did not come up.
START_SETTLES_S = 10
START_FAILURE_TTL_S = 600
# So many boots in a row that came to nothing, and no node is started; then one may try, each hour.
BOOT_FAILURES_BOUND, BREAKER_OPEN_S, BREAKER_TTL_S = 3, 3600, 7 * 86_400
# What the guardian grants beyond a node's own limits: the time that its machine takes to start and
# to stop, and the watcher to power it off.
BOOT_MARGIN_MINUTES, LIFETIME_MARGIN_MINUTES = 3, 10
# A node that was ready is silent for so many of the guardian's looks: nothing runs on it any more.
SILENT_LOOKS = 3
WATCHED_TTL_S = 90 * 86_400
# A node that gave up is woken again for the next job, and may take its allowance to give up again.
GAVE_UP_TTL_S = 2 * MAX_BOOT_ALLOWANCE_MINUTES * 60
HEARTBEAT_TTL_S = 15
# The instant lane: one function at a time, which says that it is there before it loads anything.
GPU_WAKES = ("always", "backlog", "never")
LANE_WAKE_TTL_S = 30
LANE_CALLS_BOUND = 3  # calls in a row that nobody answered: then it is not called any more
LANE_FAILURE_TTL_S = 600
LANE_WEIGHTS_TTL_S = 60  # weights come from outside, which cannot tell the queue
LANE_ENGINE = "llama.cpp-lambda"  # what replies call it
# Until they are measured: from acceptance to the first token, and the engine's time for one job.
LANE_FIRST_MS, LANE_WORK_MS = 10_000, 8_000
LANE_HISTORY_BOUND = 50
LEASE_RENEW_S, LEASE_IDLE_S = 5, 20
LET_GO_S = 12  # the worker of a lease not renewed for so long is dead
LOST_S = 3 * LEASE_IDLE_S  # a worker silent for so long will not come back to its job
# A `running` reply unchanged for so long has lost its worker: one that lives writes more often.
SILENT_S = 120
# Replies are looked through after a restart of the queue, and else so often.
SEARCH_EVERY_S = 86_400
MAX_DELIVERIES = 3
DEAD_BOUND, BOOTS_BOUND = 1_000, 50
# A scheduled function that writes runs once at a time: a run holds its lease until it ends, or for
# a little longer than Lambda lets it live.
SCHEDULED_TIMEOUT_S, RUN_LEASE_S = 50, 55
# What GET /queue-health calls unwell: a job that nobody works on for longer than two boots take, a
# guardian that has missed three minutes, a memory that the alarm rings for.
UNSERVED_LIMIT_S, GUARDIAN_LIMIT_S, MEMORY_LIMIT_PERCENT = 240, 180, 70
# Payloads are sampled for a day after a deployment (LAM-005).
SAMPLING_S, SAMPLES_BOUND = 86_400, 100

# The queue's keys, spelled here alone: the scripts get these and the functions below as they are
# (tlfif/queue/scripts.py).
STREAM, GROUP, DEAD_STREAM = "jobs", "gpu", "jobs:dead"
# The consumer that has what was handed back: no late renewal makes it its worker's again.
NOBODY = "nobody"
NODES = "nodes"  # whose heartbeat may be fresh
STOP = "nodes:stop"  # somebody wants every node to stop, until a worker claims a later job
WAKE = "node:wake"  # who has the right to start nodes now
STARTS = "node:starts"  # which nodes were asked to start and have not been heard of, and when
START_FAILURE = "node:failure"  # why the last start came to nothing
EMPTY_ZONES = "node:zones"  # which zones had no machine for a node a while ago
LATCH = "budget:latch"
CLOSED = (
    "budget:closed"  # what else is closed: tlfif.money.deciding.Degree, as JSON with why and until
)
BREAKER = "node:breaker"  # boots that failed in a row, since when, and why
WATCHED = "node:watched"  # when nodes were ready, and what the guardian saw of them
GUARD = "guardian:did"  # what the guardian last did about nodes and money, and why
LANE = "lane:now"  # the instant lane that works now
LANE_OWNER = "cpu-worker"  # whose its jobs are, before the colon
LANE_WAKE = "lane:wake"  # who has the right to call it now
LANE_CALLS = "lane:calls"  # calls since it was last heard of
LANE_FAILURE = "lane:failure"  # why it is not called for a while
LANE_FIRSTS, LANE_WORKS = "lane:firsts", "lane:works"  # what it took, in ms
LANE_USE = "lane:use"  # for how many seconds it ran, by month
BOOTS = "boot:history"
BOOT_STEPS = "boot:steps"  # when each step of the same boots was reached
PENDING_REPLIES = "replies:pending"  # final replies that no worker will write
SEARCH = "replies:search"  # the guardian's search for replies that nobody will end
MONEY = "money"  # what was spent this month, and what that closes: JSON
MONEY_TTL_S = 40 * 86_400
# What happened since the guardian last told CloudWatch: see tlfif.queue.watching.
NEWS = "news"
RUNS = "runs"  # when scheduled functions last did their work
HEALTH_PROBE = "health:probe"  # written to find out whether the queue takes writes
GUARDIAN = "guardian"
SAMPLES, SAMPLING = "payload:samples", "payload:window"
# Below this are all replies, in the bucket.
REPLIES = "replies"
# And the weights beside them; what is not known yet to be what it should be is below the other.
MODELS, INCOMING = "models", "incoming"
# And what of ours an image of the nodes is baked with.
SOFTWARE = "image"

REDIS_PORT = 6379
MODEL_PORT = 8000
# What the engine calls its model, unless model:servedName says otherwise.
DEFAULT_SERVED_MODEL = "tinyllama"

UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
LOCALHOST_ORIGIN = re.compile(r"http://localhost(:\d{1,5})?")


def node_parameter(stack: str) -> str:
    """The SSM parameter with what a stack's nodes are told, which they read at each boot."""
    return f"/tl-fif/{stack}/node"


def image_pipeline(stack: str) -> str:
    """The Image Builder pipeline that bakes a stack's images, and the end of its log group's
    name.
    """
    return f"tl-fif-{stack}-gpu-node"


def image_log_group(stack: str) -> str:
    """Where its bakes log; Image Builder's roles may write below this path alone."""
    return f"/aws/imagebuilder/{image_pipeline(stack)}"


def job_key(job_id: str) -> str:
    """The job's hash in the queue."""
    return f"job:{job_id}"


def cancelled_key(job_id: str) -> str:
    """The mark that tells a job's worker of its cancellation."""
    return f"cancelled:{job_id}"


def withdrawn_key(job_id: str) -> str:
    """The mark of a job that was taken back."""
    return f"withdrawn:{job_id}"


def run_key(name: str) -> str:
    """The lease of the run that a scheduled function is in."""
    return f"run:{name}"


def node_key(instance: str) -> str:
    """What a node last said of itself."""
    return f"node:{instance}"


def rate_key(sub: str) -> str:
    """When a user's newest jobs were accepted."""
    return f"rate:{sub}"


def idempotency_key(sub: str, digest: str) -> str:
    """The answer to a user's Idempotency-Key, by its digest."""
    return f"idem:{sub}:{digest}"


def model_key(sha256: str) -> str:
    """The S3 key of weights, by their content."""
    return f"{MODELS}/{sha256}.gguf"


def incoming_key(sha256: str) -> str:
    """The S3 key of what should be those weights, until that has been checked."""
    return f"{INCOMING}/{sha256}.gguf"


def reply_key(sub: str, job_id: str) -> str:
    """The S3 key of one job's reply.

    The caller's own `sub` is part of it, so nobody can name another's.
    """
    return f"{REPLIES}/{sub}/{job_id}.json"
