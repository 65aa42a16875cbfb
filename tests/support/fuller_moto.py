"""moto's server with what the real AWS provider needs and moto does not do, done as AWS does it.

Run as `python -m support.fuller_moto`, with the server's own arguments.
"""

import json
import sys
import threading
from collections import OrderedDict
from typing import Any

from moto.apigateway.models import APIGatewayBackend, RestAPI
from moto.awslambda.exceptions import FunctionAlreadyExists
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.awslambda.responses import LambdaResponse
from moto.budgets.responses import BudgetsResponse
from moto.codebuild import responses as codebuild
from moto.codebuild.responses import CodeBuildResponse
from moto.codepipeline.responses import CodePipelineResponse
from moto.core.responses import BaseResponse
from moto.ec2.exceptions import InvalidPermissionDuplicateError
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses.security_groups import SecurityGroups
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.s3.responses import S3Response
from moto.server import main

# Answers, of the last requests.
REMEMBERED = 200
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")


def _answer_one_at_a_time() -> None:
    """The provider asks ten things at once, and moto's models are not made for threads: one that
    trips over another's change answers 500, and the provider repeats what was done.
    """
    lock, dispatch = threading.RLock(), BaseResponse._dispatch
    answered: OrderedDict[str, Any] = OrderedDict()

    def dispatch_alone(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        with lock:
            # A connection may break after the deed: what an SDK sends again under the same id has
            # the same answer, and is not done twice.
            sent = request.headers.get("amz-sdk-invocation-id", "")
            if sent in answered:
                return answered[sent]
            answer = dispatch(self, request, *args, **options)
            failed = isinstance(answer, tuple) and answer[0] in range(500, 600)
            if sent and not failed:
                answered[sent] = answer
            if len(answered) > REMEMBERED:
                answered.popitem(last=False)
            return answer

    BaseResponse._dispatch = dispatch_alone


def _import_policies_and_mocks() -> None:
    """PutRestApi in mode overwrite sets the API's policy from the body, or clears it; a mock
    integration has no URI, and a path may have more than methods.
    """
    put, arguments = APIGatewayBackend.put_rest_api, APIGatewayBackend._build_integration_args
    tell = RestAPI.to_dict

    def put_rest_api(self: Any, function_id: str, api_doc: Any, mode: str, **options: Any) -> Any:
        operations = {
            path: {method: each for method, each in item.items() if method in _METHODS}
            for path, item in api_doc["paths"].items()
        }
        known = {**api_doc, "paths": operations}
        api = put(self, function_id, known, mode=mode, **options)
        policy = api_doc.get("x-amazon-apigateway-policy")
        if policy or mode == "overwrite":
            api.policy = json.dumps(policy) if policy else None
        return api

    def to_dict(self: Any) -> Any:
        told = tell(self)
        # The policy is a text with escapes within the JSON text.
        return {**told, "policy": json.dumps(self.policy)[1:-1]} if self.policy else told

    def build(self: Any, integration: Any) -> Any:
        built = arguments(self, integration)
        mock = built["integration_type"] in ("mock", "MOCK")
        return {**built, "uri": "", "integration_method": ""} if mock else built

    RestAPI.to_dict = to_dict
    APIGatewayBackend.put_rest_api = put_rest_api
    APIGatewayBackend._build_integration_args = build


def _find_subnets_by_ipv6() -> None:
    """DescribeSubnets filters by the association of an IPv6 block, has each once, and tells its
    state as text.
    """
    value, attach = Subnet.get_filter_value, Subnet.attach_ipv6_cidr_block_associations
    sets = Subnet.ipv6_cidr_block_association_set

    def attach_once(self: Any, ipv6_cidr_block: str) -> Any:
        known = self.ipv6_cidr_block_associations.values()
        had = (each for each in known if each["ipv6CidrBlock"] == ipv6_cidr_block)
        return next(had, None) or attach(self, ipv6_cidr_block)

    def get_filter_value(self: Any, filter_name: str, method_name: str | None = None) -> Any:
        if filter_name == "ipv6-cidr-block-association.association-id":
            return list(self.ipv6_cidr_block_associations)
        return value(self, filter_name, method_name)

    def association_set(self: Any) -> list[dict[str, Any]]:
        found = sets.fget(self)  # pyright: ignore
        return [
            {**each, "ipv6CidrBlockState": each["ipv6CidrBlockState"]["state"]} for each in found
        ]

    Subnet.attach_ipv6_cidr_block_associations = attach_once
    Subnet.get_filter_value = get_filter_value
    Subnet.ipv6_cidr_block_association_set = property(association_set)


def _leave_conditions_to_aws() -> None:
    """A policy's statement with a condition decides nothing here: moto knows none, and "deny what
    is not TLS" would deny everything.
    """
    permitted = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(self: Any, *args: Any, **options: Any) -> Any:
        conditional = "Condition" in self._statement
        return PermissionResult.NEUTRAL if conditional else permitted(self, *args, **options)

    IAMPolicyStatement.is_action_permitted = is_action_permitted


def _tell_the_smallest_transition() -> None:
    """A bucket's lifecycle has a header that says which objects are too small to move."""
    header = "x-amz-transition-default-minimum-object-size"
    get = S3Response.get_bucket_lifecycle

    def get_bucket_lifecycle(self: Any) -> Any:
        self.response_headers[header] = "all_storage_classes_128K"
        return get(self)

    S3Response.get_bucket_lifecycle = get_bucket_lifecycle


def _tell_all_of_a_budget() -> None:
    """A budget tells the subscribers of its notifications, and its tags."""
    create = BudgetsResponse.create_budget
    tags: dict[str, Any] = {}

    def create_budget(self: Any) -> str:
        asked = json.loads(self.body)
        tags[asked["Budget"]["BudgetName"]] = asked.get("ResourceTags", [])
        return create(self)

    def list_tags_for_resource(self: Any) -> str:
        name = json.loads(self.body)["ResourceARN"].rpartition("/")[2]
        return json.dumps({"ResourceTags": tags.get(name, [])})

    def describe_subscribers_for_notification(self: Any) -> str:
        asked = json.loads(self.body)
        budget = self.backend.budgets[asked["AccountId"]][asked["BudgetName"]]
        known = budget.notifications
        found = (each.subscribers for each in known if each.details == asked["Notification"])
        return json.dumps({"Subscribers": next(found, [])})

    BudgetsResponse.create_budget = create_budget
    BudgetsResponse.list_tags_for_resource = list_tags_for_resource
    BudgetsResponse.describe_subscribers_for_notification = describe_subscribers_for_notification


def _tell_where_functions_log() -> None:
    """A function's configuration has its logging."""
    begin, configuration = LambdaFunction.__init__, LambdaFunction.get_configuration

    def __init__(self: Any, account_id: str, spec: dict[str, Any], *rest: Any, **more: Any) -> None:
        self.logging = spec.get("LoggingConfig")
        begin(self, account_id, spec, *rest, **more)

    def get_configuration(self: Any, on_create: bool = False) -> dict[str, Any]:
        told = configuration(self, on_create)
        return {**told, "LoggingConfig": self.logging} if self.logging else told

    LambdaFunction.__init__ = __init__
    LambdaFunction.get_configuration = get_configuration


def _tell_of_a_function_again() -> None:
    """Who waits in vain for an answer asks again: on a busy machine, where moto has made the
    function meanwhile.
    """
    create = LambdaResponse.create_function
    asked: dict[str, Any] = {}

    def create_function(self: Any) -> Any:
        name, body = self.json_body["FunctionName"], self.json_body
        again, asked[name] = asked.get(name) == body, body
        try:
            return create(self)
        except FunctionAlreadyExists:
            if not again:
                raise
        function = self.backend.get_function(name, None)
        return 201, {"status": 201}, json.dumps(function.get_configuration(on_create=True))

    LambdaResponse.create_function = create_function


def _tell_of_a_rule_again() -> None:
    """Likewise of a security group's rule."""

    def again(name: str) -> None:
        authorize, answers = getattr(SecurityGroups, name), dict[str, Any]()

        def authorized(self: Any) -> Any:
            asked = json.dumps(self._get_params(), sort_keys=True)
            try:
                answers[asked] = authorize(self)
            except InvalidPermissionDuplicateError:
                if asked not in answers:
                    raise
            return answers[asked]

        setattr(SecurityGroups, name, authorized)

    for direction in ("ingress", "egress"):
        again(f"authorize_security_group_{direction}")


def _build_for_pipelines() -> None:
    """What CodePipeline brings and takes has no place of its own; a project can be changed, and is
    deleted by its ARN too.
    """
    changed = "_validate_required_params_source", "_validate_required_params_artifacts"
    for name in changed:
        required = getattr(codebuild, name)

        def unless_piped(given: Any, required: Any = required) -> None:
            if given["type"] != "CODEPIPELINE":
                required(given)

        setattr(codebuild, name, unless_piped)

    def update_project(self: Any) -> str:
        delete_project(self)
        return CodeBuildResponse.create_project(self)

    def delete_project(self: Any) -> str:
        self.codebuild_backend.delete_project(self._get_param("name").rpartition("/")[2])
        return "{}"

    CodeBuildResponse.update_project = update_project  # pyright: ignore
    CodeBuildResponse.delete_project = delete_project


def _tell_times_of_pipelines_as_numbers() -> None:
    get = CodePipelineResponse.get_pipeline

    def get_pipeline(self: Any) -> str:
        told = json.loads(get(self))
        told["metadata"] |= {"created": 0, "updated": 0}
        return json.dumps(told)

    CodePipelineResponse.get_pipeline = get_pipeline


def _answer_calls_of_functions() -> None:
    """A function's answer is one that the program can read: moto would run it in Docker."""

    def invoke(self: Any, *args: Any, **more: Any) -> bytes:
        return b'{"ok": true, "message": "called"}'

    LambdaBackend.invoke = invoke


def _refuse_what_is_missing() -> None:
    """An operation that moto does not have is a 400 and no 500, which the provider would repeat for
    minutes.
    """
    call = BaseResponse.call_action

    def call_action(self: Any) -> Any:
        try:
            return call(self)
        except NotImplementedError as error:
            said = {"__type": "NotImplemented", "message": str(error)}
            return 400, {"x-amzn-errortype": "NotImplemented"}, json.dumps(said)

    BaseResponse.call_action = call_action


ADDITIONS = (
    _answer_one_at_a_time,
    _import_policies_and_mocks,
    _find_subnets_by_ipv6,
    _leave_conditions_to_aws,
    _tell_the_smallest_transition,
    _tell_all_of_a_budget,
    _tell_where_functions_log,
    _tell_of_a_function_again,
    _tell_of_a_rule_again,
    _build_for_pipelines,
    _tell_times_of_pipelines_as_numbers,
    _answer_calls_of_functions,
    _refuse_what_is_missing,
)

if __name__ == "__main__":
    for addition in ADDITIONS:
        addition()
    main(sys.argv[1:])
