"""REST APIs: the local gateway serves what is recorded of them."""

from recording.kinds.kind import Kind

ACCOUNT = Kind(
    token="aws:apigateway/account:Account",
    inert="the role of API Gateway's logs; the local gateway needs none",
    terraform="aws_api_gateway_account",
)
REST_API = Kind(
    token="aws:apigateway/restApi:RestApi",
    name_limit=1024,
    shape={
        "id": "{hex:.10}",
        "arn": "arn:aws:apigateway:{region}::/restapis/{id}",
        "executionArn": "arn:aws:execute-api:{region}:{account}:{id}",
        "rootResourceId": "{hex:.9}r",
    },
    emulated="local/apigateway/ serves its OpenAPI body and evaluates the policy in it",
    terraform="aws_api_gateway_rest_api",
)
DEPLOYMENT = Kind(
    token="aws:apigateway/deployment:Deployment",
    shape={"id": "{hex:.6}"},
    emulated="local/apigateway/ serves the API as it is declared",
    terraform="aws_api_gateway_deployment",
    attributes={"restApi": "rest_api_id"},
    replaced_by=frozenset({"restApi", "triggers"}),
)
STAGE = Kind(
    token="aws:apigateway/stage:Stage",
    shape={
        "id": "ags-{restApi}-{stageName}",
        "arn": "arn:aws:apigateway:{region}::/restapis/{restApi}/stages/{stageName}",
        "invokeUrl": "https://{restApi}.execute-api.{region}.amazonaws.com/{stageName}",
        "executionArn": "arn:aws:execute-api:{region}:{account}:{restApi}/{stageName}",
    },
    emulated="local/apigateway/ serves it",
    terraform="aws_api_gateway_stage",
    attributes={"deployment": "deployment_id", "restApi": "rest_api_id"},
    replaced_by=frozenset({"restApi", "stageName"}),
)
METHOD_SETTINGS = Kind(
    token="aws:apigateway/methodSettings:MethodSettings",
    emulated="local/apigateway/ throttles by it",
    terraform="aws_api_gateway_method_settings",
    attributes={"restApi": "rest_api_id"},
    replaced_by=frozenset({"methodPath", "restApi", "stageName"}),
)
API_KEY = Kind(
    token="aws:apigateway/apiKey:ApiKey",
    shape={
        "id": "{hex:.10}",
        "arn": "arn:aws:apigateway:{region}::/apikeys/{id}",
    },
    emulated="local/apigateway/ counts callers by it",
    name_limit=1024,
    # A changed value replaces it too; but a recording hides values, and ours follow their names.
    terraform="aws_api_gateway_api_key",
)
USAGE_PLAN = Kind(
    token="aws:apigateway/usagePlan:UsagePlan",
    shape={
        "id": "{hex:.6}",
        "arn": "arn:aws:apigateway:{region}::/usageplans/{id}",
    },
    emulated="local/apigateway/ limits callers by it",
    name_limit=1024,
    terraform="aws_api_gateway_usage_plan",
)
USAGE_PLAN_KEY = Kind(
    token="aws:apigateway/usagePlanKey:UsagePlanKey",
    shape={"id": "{keyId}"},
    name_property="keyId",
    name_limit=20,
    emulated="local/apigateway/ limits callers by it",
    terraform="aws_api_gateway_usage_plan_key",
    replaced_by=frozenset({"keyId", "keyType", "usagePlanId"}),
)
