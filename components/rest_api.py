"""What the public and the private REST API have alike: a resource policy, deployed with the
body.
"""

import hashlib

import pulumi
import pulumi_aws as aws

from components.component import Component

SERVICE = "apigateway.amazonaws.com"
STAGE = "v1"


class RestApi(Component):
    """A component around one REST API."""

    def _deploy(
        self, api: aws.apigateway.RestApi, body: pulumi.Input[str], policy: pulumi.Input[str]
    ) -> aws.apigateway.Deployment:
        """Sets the API's resource policy and deploys it again whenever that or the body changes."""
        fence = aws.apigateway.RestApiPolicy(
            f"{self._name}-fence", rest_api_id=api.id, policy=policy, opts=self._child()
        )
        # A resource policy, like a route, takes effect at the next deployment; and without one a
        # private API cannot be deployed.
        content = pulumi.Output.all(body, fence.policy).apply("\n".join)
        digest = content.apply(lambda text: hashlib.sha256(text.encode()).hexdigest())
        return aws.apigateway.Deployment(
            f"{self._name}-deployment",
            rest_api=api.id,
            triggers={"content": digest},
            opts=self._child(depends_on=[fence]),
        )
