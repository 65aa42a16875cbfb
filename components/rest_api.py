"""What the public and the private REST API have alike: one body, its resource policy within, and a
deployment of it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws

from components import iam
from components.component import Component

SERVICE = "apigateway.amazonaws.com"
STAGE = "v1"


def fenced(spec: Mapping[str, Any], name: str, *fence: iam.Statement) -> str:
    """The OpenAPI document with the API's name and its resource policy in it, as JSON.

    Importing a changed body overwrites the whole API: a policy kept beside it would be gone,
    without a difference that a plan could show (terraform-provider-aws#49672).
    """
    info = {**spec["info"], "title": name}
    policy = iam.document(*fence)
    return json.dumps({**spec, "info": info, "x-amazon-apigateway-policy": policy}, sort_keys=True)


class RestApi(Component):
    """A component around one REST API."""

    def _deploy(
        self, api: aws.apigateway.RestApi, body: pulumi.Output[str]
    ) -> aws.apigateway.Deployment:
        """Deploys the API again whenever its body changes: a route or a policy takes effect then,
        and not before.
        """
        digest = body.apply(lambda text: hashlib.sha256(text.encode()).hexdigest())
        return aws.apigateway.Deployment(
            f"{self._name}-deployment",
            rest_api=api.id,
            triggers={"content": digest},
            opts=self._child(),
        )
