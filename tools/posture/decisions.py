"""What checkov asks for and the stacks do not have, each with the reason; the table of
docs/security.md.
"""

from collections.abc import Iterable

from tools.posture.judgement import Decision

_OWN_KEY = (
    "encrypted already, with AWS's key; a key of ours costs $1 a month and each use, and says no "
    "more than the roles do about who may read"
)
_API_CACHE = (
    "a cache costs $14 a month, and a reply that grows while it is read, or is somebody else's, "
    "may not come out of one"
)
_FUNCTION, _GROUP = "aws_lambda_function.*", "aws_cloudwatch_log_group.*"
_STAGE, _PRIVATE = "aws_api_gateway_stage.gateway-stage", "aws_api_gateway_stage.health-private-*"
_BUCKET, _QUEUE = "aws_s3_bucket.storage-replies", "aws_elasticache_replication_group.queue-group"
_ARTIFACTS = "aws_s3_bucket.delivery-artifacts-bucket"
_BALANCER, _NODE = "aws_lb.tls-nlb", "aws_instance.gpu-node-*"


def _decided(check: str, asks: str, where: str | Iterable[str], why: str) -> Decision:
    patterns = (where,) if isinstance(where, str) else tuple(where)
    return Decision(check=check, asks=asks, where=patterns, why=why)


DECISIONS = (
    # --- the API
    _decided(
        "CKV2_AWS_29",
        "a web application firewall",
        _STAGE,
        "$5 a month and $1 a rule; without a token nothing is called, users are limited one by "
        "one, and the meter closes the stage before a flood has cost too much",
    ),
    _decided(
        "CKV2_AWS_4",
        "the stage's execution log",
        (_STAGE, _PRIVATE),
        "it would write prompts into the log; the access log and the traces tell without",
    ),
    _decided(
        "CKV2_AWS_51",
        "a client certificate for back ends",
        (_STAGE, _PRIVATE),
        "ours are Lambda and S3, called by IAM and not over HTTP of their own",
    ),
    _decided("CKV_AWS_120", "a cache of the stage", (_STAGE, _PRIVATE), _API_CACHE),
    _decided(
        "CKV_AWS_225",
        "a cache of each method",
        "aws_api_gateway_method_settings.gateway-throttle*",
        _API_CACHE,
    ),
    _decided(
        "CKV_AWS_73",
        "traces of the private stage",
        _PRIVATE,
        "it has the two health checks alone, whose calls the canary notes",
    ),
    _decided(
        "CKV_AWS_76",
        "an access log of the private stage",
        _PRIVATE,
        "only the VPC reaches it, for the two health checks; the canary notes their answers",
    ),
    # --- functions
    _decided(
        "CKV_AWS_116",
        "a dead-letter queue",
        _FUNCTION,
        "a caller of the API is told; a schedule comes again within minutes, and a failure rings; "
        "what the lane missed the guardian calls again",
    ),
    _decided(
        "CKV_AWS_117",
        "a place in the VPC",
        (
            "aws_lambda_function.cost-publisher-function",
            "aws_lambda_function.gateway-authorizer-function",
            "aws_lambda_function.meter-function",
            "aws_lambda_function.model-weights-function",
        ),
        "these do not use the queue: they call AWS's APIs, and the VPC has no IPv4 way out",
    ),
    _decided(
        "CKV_AWS_272",
        "signed code",
        _FUNCTION,
        "the bundles can be made again from the commit, byte by byte; whoever may deploy would "
        "sign as well",
    ),
    # --- the queue
    _decided(
        "CKV2_AWS_50",
        "failover to another zone",
        _QUEUE,
        "a second node doubles the largest fixed cost; jobs live five minutes, and the guardian "
        "answers those that the queue has lost (`queue:replicas` adds one)",
    ),
    _decided(
        "CKV_AWS_30",
        "encryption in transit",
        _QUEUE,
        "RED-002 wants it without: functions and nodes of the same VPC alone reach it, and each "
        "cold start would shake hands once more",
    ),
    _decided(
        "CKV_AWS_31",
        "encryption in transit, and a password",
        _QUEUE,
        "ElastiCache has a password with TLS only; two security groups decide who connects",
    ),
    _decided("CKV_AWS_191", "a key of ours for the queue", _QUEUE, _OWN_KEY),
    # --- the bucket
    _decided(
        "CKV2_AWS_62",
        "notifications of buckets",
        (_BUCKET, _ARTIFACTS),
        "nobody would listen: who writes replies says so in the queue",
    ),
    _decided(
        "CKV_AWS_144",
        "a copy in another region",
        (_BUCKET, _ARTIFACTS),
        "replies and artefacts are gone within two weeks; weights can be had again, and what was "
        "counted (`money/`) is of use to this region's stack alone",
    ),
    _decided("CKV_AWS_145", "a key of ours for buckets", (_BUCKET, _ARTIFACTS), _OWN_KEY),
    _decided(
        "CKV_AWS_18",
        "an access log of buckets",
        (_BUCKET, _ARTIFACTS),
        "people read through the API alone, whose access log has them, and one role each writes or "
        "reads the artefacts; another bucket would keep what this one may not",
    ),
    _decided(
        "CKV_AWS_21",
        "versions of objects",
        (_BUCKET, _ARTIFACTS),
        "what is overwritten or has expired must be gone: prompts and replies are people's own; "
        "artefacts are a commit's, written again only when its stage is tried again; of the rest "
        "the newest counts",
    ),
    # --- nodes and their image
    _decided(
        "CKV_AWS_126",
        "monitoring by the minute",
        _NODE,
        "$2.10 a month and node; the watcher tells the minute's figures itself",
    ),
    _decided(
        "CKV_AWS_130",
        "no public addresses",
        "aws_subnet.network-node*-subnet",
        "nodes go out by their own address, since a NAT gateway costs $32 a month; no security "
        "group lets anybody in",
    ),
    _decided(
        "CKV_AWS_135",
        "optimized for EBS",
        _NODE,
        "each GPU type of ours always is; to say so would start a stopped node",
    ),
    _decided(
        "CKV2_AWS_34",
        "an encrypted parameter",
        "aws_ssm_parameter.gpu-node-settings",
        "names and sizes, no secret: those are SecureStrings",
    ),
    _decided(
        "CKV_AWS_180",
        "a key of ours for the image's component",
        "aws_imagebuilder_component.gpu-image-component",
        _OWN_KEY,
    ),
    _decided(
        "CKV_AWS_199",
        "a key of ours for the image",
        "aws_imagebuilder_distribution_configuration.gpu-image-distribution",
        _OWN_KEY,
    ),
    # --- the balancer
    _decided(
        "CKV_AWS_150",
        "protection from deletion",
        _BALANCER,
        "it holds nothing, and `pulumi destroy` must leave nothing that costs $16 a month",
    ),
    _decided(
        "CKV_AWS_152",
        "balancing across zones",
        _BALANCER,
        "traffic between zones costs, and a zone without a node that runs is not in its name",
    ),
    _decided(
        "CKV_AWS_91",
        "an access log of the balancer",
        _BALANCER,
        "only the VPC reaches it; nginx on the node has the requests",
    ),
    # --- the pipeline
    _decided("CKV_AWS_147", "a key of ours for builds", "aws_codebuild_project.*", _OWN_KEY),
    _decided(
        "CKV_AWS_219",
        "a key of ours for the pipeline's artefacts",
        "aws_codepipeline.delivery-pipeline",
        _OWN_KEY,
    ),
    # --- the whole
    _decided(
        "CKV2_AWS_11",
        "a flow log of the VPC",
        "aws_vpc.network-vpc",
        "it bills each GB that the queue is asked; nobody comes in from outside, and CloudTrail "
        "has what roles did",
    ),
    _decided(
        "CKV_AWS_158",
        "a key of ours for log groups",
        _GROUP,
        _OWN_KEY + "; prompts are in none",
    ),
    _decided(
        "CKV_AWS_26",
        "encrypted topics",
        "aws_sns_topic.alerts-*",
        "with AWS's own key alarms and Budgets could not publish, and a key of ours costs $1 a "
        "month; messages have figures, no prompts",
    ),
    _decided(
        "CKV_AWS_338",
        "logs kept for a year",
        _GROUP,
        "14 days are enough to find a fault, 30 to see who called, what was built and what was "
        "baked, and 1 for samples; what is kept longer costs, and is somebody's",
    ),
)


def table() -> str:
    """The decisions as docs/security.md has them."""
    rows = [
        f"| `{one.check}` {one.asks} | {', '.join(f'`{each}`' for each in one.where)} | {one.why} |"
        for one in DECISIONS
    ]
    return "\n".join(["| checkov's wish | of | why not |", "|---|---|---|", *rows])
