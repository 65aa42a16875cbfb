"""Who may do what: each deed that matters is asked of each role's policies, its own and those of
AWS's that it has, as IAM would decide; the table of docs/security.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from components.naming import stack_name
from local.iam.managed import attached
from local.iam.policy import Context
from local.iam.usage import AccessRequest, Grant, allowing, grants
from recording import kinds
from recording.evaluate import evaluate
from recording.model import ACCOUNT_ID, Recording
from tlfif.names import (
    AMI_PARAMETER,
    ENV_TAG,
    ENV_VALUE,
    LATCH_TAG,
    SLACK_PARAMETER,
    SMOKE_PARAMETER,
    STACK_TAG,
)

# The stack that has everything.
STACK = "literal"
_REGION = "us-east-1"
# A role's resource, and who has it.
WHO = {
    "router-role": "router",
    "router-payload-samples-role": "payload samples",
    "cpu-worker-role": "instant lane",
    "gpu-node-role": "node",
    "gpu-image-role": "image's builder",
    "guardian-role": "guardian",
    "guardrails-killer-role": "budget killer",
    "meter-role": "meter",
    "cost-publisher-role": "cost publisher",
    "model-weights-role": "model fetch",
    "queue-health-role": "queue health",
    "health-probe-role": "VPC probe",
    "health-canary-role": "canary",
    "gateway-replies-role": "API Gateway",
    "gateway-authorizer-role": "authorizer",
    "gateway-logs-role": "API Gateway's logs",
    "delivery-role": "pipeline",
    "delivery-test-role": "test stage",
    "delivery-bake-role": "bake stage",
    "delivery-deploy-role": "deploy stage",
    "delivery-smoke-role": "smoke stage",
}
NOBODY = "nobody"


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Something that one may do or not: an action on a resource, in a context."""

    what: str
    action: str
    resource: str
    context: Context


def deeds(recording: Recording) -> Iterator[Deed]:
    """Those that matter, on what this stack consists of."""
    bucket, artifacts = _bucket(recording, "storage-replies"), _bucket(recording, "artifacts")
    stack = recording.stack
    node = recording.of_type(kinds.ec2.INSTANCE.token)[0].id
    own = f"arn:aws:ec2:{_REGION}:{ACCOUNT_ID}:instance/{node}"
    other = f"arn:aws:ec2:{_REGION}:{ACCOUNT_ID}:instance/i-0f0f0f0f0f0f0f0f0"
    tags = {
        f"aws:resourcetag/{ENV_TAG}": ENV_VALUE,
        f"aws:resourcetag/{STACK_TAG}": stack,
    }
    strange = {**tags, f"aws:resourcetag/{STACK_TAG}": "another"}
    latched = {**tags, f"aws:resourcetag/{LATCH_TAG.lower()}": "set"}
    latch, stopped = {**tags, "aws:tagkeys": (LATCH_TAG,)}, {**tags, "ec2:sourceinstancearn": own}
    function = f"arn:aws:lambda:{_REGION}:{ACCOUNT_ID}:function:tl-fif-{stack}"
    parameter = f"arn:aws:ssm:{_REGION}:{ACCOUNT_ID}:parameter"
    stage = recording.one(kinds.apigateway.REST_API.token, "gateway-api").id
    stop = recording.one(kinds.monitoring.TOPIC.token, "alerts-stop").outputs["arn"]
    role = recording.of_type(kinds.iam.ROLE.token)[0].outputs["arn"]
    image = f"arn:aws:imagebuilder:{_REGION}:{ACCOUNT_ID}"

    def deed(what: str, action: str, resource: str, context: Context | None = None) -> Deed:
        return Deed(what=what, action=action, resource=resource, context=context or {})

    yield deed("read prompts' replies", "s3:GetObject", f"{bucket}/replies/user/job.json")
    yield deed("write replies", "s3:PutObject", f"{bucket}/replies/user/job.json")
    yield deed("read what was counted", "s3:GetObject", f"{bucket}/money/ledger.json")
    yield deed("write the ledger", "s3:PutObject", f"{bucket}/money/ledger.json")
    yield deed("write what the meter counted", "s3:PutObject", f"{bucket}/money/metered.json")
    yield deed("write the tariff", "s3:PutObject", f"{bucket}/money/tariff.json")
    yield deed("read the lane's weights", "s3:GetObject", f"{bucket}/models/weights")
    yield deed("replace the lane's weights", "s3:PutObject", f"{bucket}/models/weights")
    yield deed("replace the node's software", "s3:PutObject", f"{bucket}/image/software.zip")
    yield deed("start a node", "ec2:StartInstances", own, tags)
    yield deed("start a node that is latched", "ec2:StartInstances", own, latched)
    yield deed("start another stack's node", "ec2:StartInstances", other, strange)
    yield deed("stop any node", "ec2:StopInstances", own, tags)
    yield deed("stop a node from itself", "ec2:StopInstances", own, stopped)
    yield deed("make or end a node", "ec2:TerminateInstances", own, tags)
    yield deed("set the latch on a node", "ec2:CreateTags", own, latch)
    yield deed("lift the latch of a node", "ec2:DeleteTags", own, latch)
    yield deed("call the instant lane", "lambda:InvokeFunction", f"{function}-cpu-worker")
    yield deed("call a version of the router", "lambda:InvokeFunction", f"{function}-router:7")
    yield deed("call the guardian", "lambda:InvokeFunction", f"{function}-guardian")
    yield deed("have everything stopped", "sns:Publish", stop)
    yield deed(
        "close the API's stage",
        "apigateway:PATCH",
        f"arn:aws:apigateway:{_REGION}::/restapis/{stage}/stages/v1",
    )
    yield deed("put code into the router", "lambda:UpdateFunctionCode", f"{function}-router")
    yield deed("move the router's alias", "lambda:UpdateAlias", f"{function}-router")
    yield deed("remove a version of it", "lambda:DeleteFunction", f"{function}-router:7")
    yield deed("remove the router", "lambda:DeleteFunction", f"{function}-router")
    yield deed(
        "change the router's settings or role",
        "lambda:UpdateFunctionConfiguration",
        f"{function}-router",
    )
    yield deed(
        "put code into another function", "lambda:UpdateFunctionCode", f"{function}-guardian"
    )
    yield deed(
        "bake an image",
        "imagebuilder:StartImagePipelineExecution",
        f"{image}:image-pipeline/tl-fif-{stack}-gpu-node",
    )
    yield deed(
        "say which image the nodes get",
        "ssm:PutParameter",
        parameter + stack_name(AMI_PARAMETER, stack),
    )
    secrets = {SLACK_PARAMETER: "Slack's webhook", SMOKE_PARAMETER: "the smoke user's password"}
    for name, what in secrets.items():
        secret = parameter + stack_name(name, stack)
        yield deed(f"read {what}", "ssm:GetParameter", secret)
        yield deed(f"read {what} among others", "ssm:GetParameters", secret)
        # Who may ask for a path may read whatever is below it.
        folder = secret.rpartition("/")[0]
        yield deed(f"read {what} by its path", "ssm:GetParametersByPath", folder)
    yield deed(
        "start a build",
        "codebuild:StartBuild",
        f"arn:aws:codebuild:{_REGION}:{ACCOUNT_ID}:project/tl-fif-{stack}-deploy",
    )
    yield deed("replace a stage's source", "s3:PutObject", f"{artifacts}/tl-fif-{stack}/source")
    yield deed("store coverage", "s3:PutObject", f"{artifacts}/coverage/index.html")
    yield deed("store a smoke test's findings", "s3:PutObject", f"{artifacts}/smoke/reply.json")
    pool = recording.of_type(kinds.cognito.USER_POOL.token)[0].outputs["arn"]
    log = f"arn:aws:logs:{_REGION}:{ACCOUNT_ID}:log-group:/aws/lambda/tl-fif-{stack}-router"
    yield deed("read what a function logged", "logs:GetLogEvents", f"{log}:log-stream:any")
    yield deed("make a user, or see one", "cognito-idp:AdminCreateUser", pool)
    yield deed("give a right, or pass one on", "iam:PutRolePolicy", role)
    yield deed("hand a role to something", "iam:PassRole", role)


def _bucket(recording: Recording, part: str) -> str:
    buckets = recording.of_type(kinds.s3.BUCKET.token)
    return next(each.outputs["arn"] for each in buckets if part in each.name)


def roles(recording: Recording) -> dict[str, str]:
    """A role's ARN to who has it; LookupError for one that is not in `WHO`."""
    found = recording.of_type(kinds.iam.ROLE.token)
    if strange := sorted(each.name for each in found if each.name not in WHO):
        raise LookupError(f"say in tools/posture/reach.py who has {', '.join(strange)}")
    return {each.outputs["arn"]: WHO[each.name] for each in found}


def reach(recording: Recording) -> dict[str, list[str]]:
    """Each deed to those who may do it."""
    owners = roles(recording)
    given: dict[str, list[Grant]] = {role_arn: [] for role_arn in owners}
    for grant in [*grants(recording), *attached(recording)]:
        given[grant.role_arn].append(grant)
    return {
        each.what: sorted(owners[arn] for arn, known in given.items() if _may(known, each))
        for each in deeds(recording)
    }


def _may(given: list[Grant], deed: Deed) -> bool:
    asked = AccessRequest(action=deed.action, resource=deed.resource, context=deed.context)
    return allowing(asked, given) is not None


def queue_clients(recording: Recording) -> list[str]:
    """Who is in a security group from which one may connect to the queue."""
    into = {
        rule.inputs["referencedSecurityGroupId"]
        for rule in recording.of_type(kinds.ec2.INGRESS_RULE.token)
        if rule.name.startswith("network-queue-from-")
    }
    owners: Mapping[str, str] = roles(recording)
    functions = {
        owners[each.inputs["role"]]
        for each in recording.of_type(kinds.lambda_.FUNCTION.token)
        if into & set(each.inputs.get("vpcConfig", {}).get("securityGroupIds", ()))
    }
    nodes = [
        "node"
        for each in recording.of_type(kinds.ec2.INSTANCE.token)
        if into & set(each.inputs["vpcSecurityGroupIds"])
    ]
    return sorted({*functions, *nodes})


def table() -> str:
    """Who may do what in the stack that has everything, as docs/security.md has it."""
    recording = evaluate(STACK)
    found = {"connect to the queue, and read or change jobs": queue_clients(recording)}
    found |= reach(recording)
    rows = [f"| {what} | {', '.join(who) or NOBODY} |" for what, who in found.items()]
    return "\n".join(["| to … | may |", "|---|---|", *rows])
