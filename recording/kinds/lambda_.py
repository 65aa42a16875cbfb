"""Functions: moto has them and their versions, the local cloud's own Lambda service runs them."""

from recording.kinds.kind import Kind

_INVOKE_ARN = "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations"

FUNCTION = Kind(
    token="aws:lambda/function:Function",
    name_limit=64,
    name_pattern=r"[a-zA-Z0-9-_]+",
    shape={
        "id": "{name}",
        "arn": "arn:aws:lambda:{region}:{account}:function:{name}",
        "version": "1",
        "invokeArn": _INVOKE_ARN,
    },
    attributes={"code": "filename", "name": "function_name"},
    replaced_by=frozenset({"name"}),
)
ALIAS = Kind(
    token="aws:lambda/alias:Alias",
    name_limit=128,
    name_pattern=r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)",
    shape={
        "id": "{arn}",
        "arn": "arn:aws:lambda:{region}:{account}:function:{functionName}:{name}",
        "invokeArn": _INVOKE_ARN,
    },
    replaced_by=frozenset({"functionName", "name"}),
)
PERMISSION = Kind(
    token="aws:lambda/permission:Permission",
    emulated="local/monitoring/ holds topics to it; others the local cloud calls itself",
    attributes={"function": "function_name"},
    replaced_by=frozenset({"action", "function", "principal", "qualifier", "sourceArn"}),
)
EVENT_INVOKE_CONFIG = Kind(
    token="aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
    shape={"id": "{functionName}"},
    emulated="a schedule's call that failed is not made again",
    replaced_by=frozenset({"functionName"}),
)
INVOCATION = Kind(
    token="aws:lambda/invocation:Invocation",
    shape={
        "id": "{functionName}_$LATEST_{hex:.32}",
        "result": '{{"ok": true, "message": "called once the functions run"}}',
    },
    emulated="local/lambda_/invocations.py says whom the running stack calls, and with what",
    # The program reads what the function answered.
    computed_on=frozenset({"result"}),
    replaced_by=frozenset({"functionName", "input", "qualifier", "triggers"}),
)
