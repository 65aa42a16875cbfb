"""The texts of AWS's own policies: those that are attached, as the source has them."""

import json

from moto.iam.aws_managed_policies import aws_managed_policies_data
from support.recordings import evaluate

from local.iam.managed import texts
from recording import kinds

SOURCE = json.loads(aws_managed_policies_data)


def test_the_texts_are_those_of_the_source() -> None:
    for arn, policy in texts().items():
        known = SOURCE[arn.rpartition("/")[2]]
        assert arn == f"arn:aws:iam::aws:policy{known['Path']}{arn.rpartition('/')[2]}"
        assert policy == {
            "version": known["DefaultVersionId"],
            "since": known["UpdateDate"][:10],
            "document": known["Document"],
        }


def test_there_is_no_text_that_no_role_has() -> None:
    """What has none is an error, shown in tests/tools/posture/test_reach.py."""
    recording = evaluate("literal")
    attachments = recording.of_type(kinds.iam.ROLE_POLICY_ATTACHMENT.token)
    assert texts().keys() == {each.inputs["policyArn"] for each in attachments}
