"""The roles that the GitHub workflows take by OIDC, as IAM documents: who may take one, and what it
may then do. docs/github.md has them made by AWS's CLI.

python -m tools.github_roles preview trust --account 123456789012 --repository example/tl-fif
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from tlfif.names import AMI_PARAMETER

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
# Who is let into this environment of the repository says what is previewed with the account's
# rights: a workflow of any branch could ask for the role otherwise.
PREVIEW_ENVIRONMENT = "preview"
Json = dict[str, Any]


def trust(account: str, subject: str) -> Json:
    """Who may take a role: a workflow of the one repository, in the one place of it."""
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{account}:oidc-provider/{ISSUER}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {f"{ISSUER}:aud": AUDIENCE, f"{ISSUER}:sub": subject},
            },
        }
    )


def preview_subject(repository: str) -> str:
    """What GitHub says of a job in the preview's environment; `repository` as it is in `sub`: of
    repositories that are new since July 2026 each name has `@` and its number after it.
    """
    return f"repo:{repository}:environment:{PREVIEW_ENVIRONMENT}"


def pipeline_subject(repository: str, branch: str) -> str:
    """What GitHub says of a push to the branch that the pipeline watches."""
    return f"repo:{repository}:ref:refs/heads/{branch}"


def preview_rights(account: str, region: str, state_bucket: str) -> Json:
    """What `pulumi preview` reads: the state, and what the program asks AWS while it is evaluated;
    `state_bucket` is empty where Pulumi Cloud has the state.

    It writes nothing: Pulumi takes its lock beside the state for what changes a stack alone.
    """
    asked = [
        "ec2:DescribeInstanceTypeOfferings",
        "servicequotas:GetServiceQuota",
        "servicequotas:GetAWSDefaultServiceQuota",
    ]
    parameters = f"arn:aws:ssm:{region}:{account}:parameter/{AMI_PARAMETER.split('/')[1]}"
    state = f"arn:aws:s3:::{state_bucket}"
    statements = [
        {
            "Sid": "AskWhatTheProgramAsks",
            "Effect": "Allow",
            "Action": asked,
            # None of these actions knows a resource.
            "Resource": "*",
        },
        {
            "Sid": "FindTheImage",
            "Effect": "Allow",
            # What is secret there stays encrypted: there is no kms:Decrypt.
            "Action": ["ssm:GetParametersByPath"],
            "Resource": [parameters, f"{parameters}/*"],
        },
        {"Sid": "FindState", "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": state},
        {
            "Sid": "ReadState",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": f"{state}/.pulumi/*",
        },
    ]
    return _document(*(statements if state_bucket else statements[:-2]))


def pipeline_rights(account: str, region: str, pipeline: str) -> Json:
    """What following a commit asks: the executions of the one pipeline."""
    return _document(
        {
            "Sid": "FollowCommits",
            "Effect": "Allow",
            "Action": ["codepipeline:ListPipelineExecutions"],
            "Resource": f"arn:aws:codepipeline:{region}:{account}:{pipeline}",
        }
    )


def _document(*statements: Json) -> Json:
    return {"Version": "2012-10-17", "Statement": list(statements)}


_FORMS = {
    "account": (r"\d{12}", "twelve digits"),
    "region": (r"[a-z]{2}(-[a-z]+)+-\d", "as in us-east-1"),
    "repository": (
        r"[\w.-]+/[\w.-]+|[\w.-]+@\d+/[\w.-]+@\d+",
        "OWNER/NAME or OWNER@ID/NAME@ID, as GitHub spells it",
    ),
    "branch": (r"[\w./-]+", "a branch's name"),
    "pipeline": (r"[\w.@-]{1,100}", "the stack's output pipeline_name"),
    "state_bucket": (r"([a-z0-9][a-z0-9.-]{2,62})?", "a bucket's name, without s3://"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one document; 1 with a line for a value of another form."""
    parser = argparse.ArgumentParser(prog="github_roles", description=__doc__)
    parser.add_argument("role", choices=["preview", "pipeline"])
    parser.add_argument("document", choices=["trust", "rights"])
    parser.add_argument("--account", required=True, help="the account's twelve digits")
    repository = "OWNER/NAME, or OWNER@ID/NAME@ID where GitHub's tokens have numbers; for trust"
    parser.add_argument("--repository", default="", help=repository)
    parser.add_argument("--branch", default="main", help="the branch that the pipeline watches")
    parser.add_argument("--region", default="us-east-1", help="the stack's region")
    parser.add_argument("--pipeline", default="", help="the stack's output pipeline_name")
    parser.add_argument("--state-bucket", default="", help="the bucket of Pulumi's state, if any")
    given = parser.parse_args(arguments)
    needed = ["account", "region", "branch", "state_bucket"]
    needed += ["repository"] if given.document == "trust" else []
    needed += ["pipeline"] if (given.role, given.document) == ("pipeline", "rights") else []
    for name in needed:
        pattern, form = _FORMS[name]
        if not re.fullmatch(pattern, value := getattr(given, name)):
            option = name.replace("_", "-")
            print(f"github_roles: --{option} = {value!r}: must be {form}", file=sys.stderr)
            return 1
    print(json.dumps(_chosen(given), indent=2))
    return 0


def _chosen(given: argparse.Namespace) -> Json:
    match given.role, given.document:
        case "preview", "trust":
            return trust(given.account, preview_subject(given.repository))
        case "pipeline", "trust":
            return trust(given.account, pipeline_subject(given.repository, given.branch))
        case "preview", _:
            return preview_rights(given.account, given.region, given.state_bucket)
        case _:
            return pipeline_rights(given.account, given.region, given.pipeline)


if __name__ == "__main__":
    sys.exit(main())
