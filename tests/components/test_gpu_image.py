"""What bakes the image of the nodes: as EC2-001 and EC2-002 say, once for each content, and for
nobody else's eyes.
"""

import hashlib
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from support.program import POLICY, evaluate, statements

from components import software
from components.gpu_image import BUILDER, MAX_DOCUMENT_CHARACTERS, document, version
from components.settings_errors import SettingsError
from recording import kinds
from recording.invented import RecordingBackend
from recording.model import ROOT, Recording
from tlfif.serving import Model

pytestmark = pytest.mark.story("EC2-001", "EC2-002")

COMPONENT = kinds.imagebuilder.COMPONENT.token
RECIPE = kinds.imagebuilder.RECIPE.token
BUILDERS = kinds.imagebuilder.INFRASTRUCTURE.token
DISTRIBUTION = kinds.imagebuilder.DISTRIBUTION.token
PIPELINE = kinds.imagebuilder.PIPELINE.token
OBJECT = kinds.s3.BUCKET_OBJECT.token
EGRESS, INGRESS = kinds.ec2.EGRESS_RULE.token, kinds.ec2.INGRESS_RULE.token


def parameters(recording: Recording) -> dict[str, str]:
    (used,) = recording.one(RECIPE).inputs["components"]
    return {each["name"]: each["value"] for each in used["parameters"]}


# --- the recipe


def test_it_is_ubuntu_for_x86_64_on_an_encrypted_disk_of_the_nodes_size(
    recording: Recording,
) -> None:
    recipe = recording.one(RECIPE).inputs
    parent = "arn:aws:imagebuilder:us-east-1:aws:image/ubuntu-server-22-lts-x86/x.x.x"
    assert recipe["parentImage"] == parent
    disk = {
        "volumeType": "gp3",
        "volumeSize": 30,
        "encrypted": "true",
        "deleteOnTermination": "true",
    }
    assert recipe["blockDeviceMappings"] == [{"deviceName": "/dev/sda1", "ebs": disk}]
    assert recipe["systemsManagerAgent"] == {"uninstallAfterBuild": False}


def test_the_document_is_told_its_software_and_its_model(recording: Recording) -> None:
    told = parameters(recording)
    stored = recording.one(OBJECT, "gpu-image-software").inputs
    assert told["Software"] == f"s3://{recording.outputs['replies_bucket']}/{stored['key']}"
    assert stored["key"] == f"image/{told['SoftwareSha256']}.zip"
    model = Model.model_validate_json(told["Model"])
    assert model.file == "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"
    assert (model.served_name, model.context_tokens) == ("tinyllama", 2048)
    assert "\n" not in told["Model"]


def test_its_component_is_the_document_of_the_repository(recording: Recording) -> None:
    text = (ROOT / "gpu_image" / "component.yaml").read_text()
    component = recording.one(COMPONENT)
    assert component.inputs["data"] == text
    assert recording.one(RECIPE).inputs["components"][0]["componentArn"] == component.outputs["arn"]


def test_a_document_that_image_builder_would_not_take_is_refused_by_its_size() -> None:
    assert document("x" * MAX_DOCUMENT_CHARACTERS)
    with pytest.raises(SettingsError, match=r"component\.yaml has 16001 characters, .* 16000"):
        document("x" * (MAX_DOCUMENT_CHARACTERS + 1))


# --- versions: the same content the same one, other content another


def test_a_version_is_of_its_contents_alone_and_one_that_image_builder_takes() -> None:
    assert version("a", "b") == version("a", "b")
    others = {version("a", "b"), version("ab"), version("b", "a"), version("a", "b", "")}
    assert len(others) == 4
    for at in range(200):
        found = re.fullmatch(r"1\.0\.(\d+)", version(str(at)))
        assert found
        assert int(found[1]) <= 2**30 - 1


def test_another_model_or_disk_is_another_recipe_of_the_same_component(dev: Recording) -> None:
    config = {"tl-fif:gpu": {"diskGb": 40}, "tl-fif:model": {"sha256": "0" * 64}}
    other = evaluate("dev", config=config)
    assert other.one(RECIPE).inputs["version"] != dev.one(RECIPE).inputs["version"]
    assert other.one(COMPONENT).inputs["version"] == dev.one(COMPONENT).inputs["version"]


@pytest.fixture(scope="module")
def otherwise() -> Recording:
    """Other settings, of which none is the image's."""
    config = {"tl-fif:gpu": {"idleMinutes": 7}, "tl-fif:costs": {"bakesPerMonth": 10}}
    return evaluate("dev", config=config)


def test_what_makes_no_difference_to_the_image_makes_no_version(
    dev: Recording, otherwise: Recording
) -> None:
    assert otherwise.one(RECIPE).inputs["version"] == dev.one(RECIPE).inputs["version"]


# --- the software


def test_the_zip_has_the_packages_of_a_node_and_its_key_is_their_hash(dev: Recording) -> None:
    made = software.zipped()
    content = made.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == made.sha256
    stored = dev.one(OBJECT, "gpu-image-software").inputs
    assert stored["source"] == made.path.relative_to(ROOT).as_posix()
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        names = zipped.namelist()
    assert {name.partition("/")[0] for name in names} == {"tlfif", "worker", "gpu_image"}
    assert {"gpu_image/watcher/__main__.py", "gpu_image/supervisord.conf"} <= {*names}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_other_software_is_another_zip_and_the_same_the_same(tmp_path: Path) -> None:
    for name in software.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    first = software.zipped(tmp_path)
    assert (first.sha256, first.path.name) == (
        software.zipped().sha256,
        software.zipped().path.name,
    )
    (tmp_path / "tlfif" / "__pycache__").mkdir()
    (tmp_path / "tlfif" / "__pycache__" / "x.pyc").touch()
    assert software.zipped(tmp_path).sha256 == first.sha256
    (tmp_path / "tlfif" / "new.py").touch()
    assert software.zipped(tmp_path).sha256 != first.sha256


def test_no_rule_of_the_bucket_takes_away_what_a_bake_needs(dev: Recording) -> None:
    rules = dev.one(kinds.s3.BUCKET_LIFECYCLE.token).inputs["rules"]
    expiring = [each["filter"]["prefix"] for each in rules if "expiration" in each]
    assert expiring
    assert not [each for each in expiring if "image/".startswith(each)]


# --- the builder


def test_the_builder_is_decisions_instance_and_terminated_when_it_fails(
    recording: Recording,
) -> None:
    builder = recording.one(BUILDERS).inputs
    assert builder["instanceTypes"] == [BUILDER] == ["m7i.large"]
    assert builder["terminateInstanceOnFailure"] is True
    wanted = {"httpTokens": "required", "httpPutResponseHopLimit": 1}
    assert builder["instanceMetadataOptions"] == wanted
    assert "keyPair" not in builder
    # In the subnet with a way out.
    subnet = recording.one(kinds.ec2.SUBNET.token, "network-node-subnet")
    assert builder["subnetId"] == subnet.id


def test_nobody_may_connect_to_the_builder(recording: Recording) -> None:
    (group,) = recording.one(BUILDERS).inputs["securityGroupIds"]
    assert [r for r in recording.of_type(INGRESS) if r.inputs["securityGroupId"] == group] == []
    going = [r.inputs for r in recording.of_type(EGRESS) if r.inputs["securityGroupId"] == group]
    assert sorted(
        (each["fromPort"], each.get("cidrIpv4") or each["cidrIpv6"]) for each in going
    ) == [(80, "0.0.0.0/0"), (80, "::/0"), (443, "0.0.0.0/0"), (443, "::/0")]


def test_the_builder_may_read_the_software_and_no_reply(recording: Recording) -> None:
    bucket = f"arn:aws:s3:::{recording.outputs['replies_bucket']}"
    granted = statements(recording, "gpu-image-policy")
    assert {sid: each["Resource"] for sid, each in granted.items()} == {
        "ReadSoftware": f"{bucket}/image/*",
        "SeeMissing": bucket,
        "LeaveSecrets": "arn:aws:ssm:*:*:parameter/tl-fif-secrets*",
    }
    assert granted["LeaveSecrets"]["Effect"] == "Deny"
    role = recording.one(POLICY, "gpu-image-policy").inputs["role"]
    attached = recording.of_type(kinds.iam.ROLE_POLICY_ATTACHMENT.token)
    assert {a.inputs["policyArn"] for a in attached if a.inputs["role"] == role} == {
        "arn:aws:iam::aws:policy/EC2InstanceProfileForImageBuilder",
        "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
    }


# --- what comes of it


def test_the_image_is_tagged_with_its_version_and_time(recording: Recording) -> None:
    (here,) = recording.one(DISTRIBUTION).inputs["distributions"]
    assert here["region"] == "us-east-1"
    image, stack = here["amiDistributionConfiguration"], recording.stack
    assert image["name"] == f"tl-fif-{stack}-gpu-node-{{{{ imagebuilder:buildDate }}}}"
    assert image["amiTags"] == {
        "tl-fif:gpu-node": stack,
        "tl-fif:version": recording.one(RECIPE).inputs["version"],
        "tl-fif:baked": "{{ imagebuilder:buildDate }}",
        "Name": f"tl-fif-{stack}-gpu-node",
        "env": "tinyllama",
        "stack": stack,
    }


def test_a_bake_starts_by_command_alone_and_logs_to_a_group_that_forgets(
    recording: Recording,
) -> None:
    pipeline = recording.one(PIPELINE).inputs
    assert pipeline["name"] == f"tl-fif-{recording.stack}-gpu-node"
    assert "schedule" not in pipeline
    assert pipeline["imageTestsConfiguration"] == {"imageTestsEnabled": False}
    logs = recording.one(kinds.monitoring.LOG_GROUP.token, "gpu-image-logs").inputs
    assert set(pipeline["loggingConfiguration"].values()) == {logs["name"]}
    # Elsewhere Image Builder's own roles may not write.
    assert logs["name"].startswith("/aws/imagebuilder/")
    assert logs["retentionInDays"] == 30


def test_a_stack_without_nodes_has_none_of_it_and_pays_none_of_it() -> None:
    without = evaluate("dev", config={"tl-fif:gpu": {"wake": "never"}})
    assert [r.name for r in without.resources if r.name.startswith("gpu-image")] == []
    assert [line for line in without.bill if "bake" in line["what"]] == []


def test_the_bill_has_the_builder_while_it_works(dev: Recording, otherwise: Recording) -> None:
    for recording, hours in ((dev, 0.2), (otherwise, 2)):
        (line,) = [row for row in recording.bill if row["what"] == "bakes of the image"]
        assert line["quantity"] == pytest.approx(hours)
        assert line["usd"] == pytest.approx(hours * 0.1008)


def test_before_the_first_bake_the_next_step_is_its_command() -> None:
    bare = evaluate("dev", RecordingBackend("dev", "us-east-1", parameters={}))
    assert "Bake one: make bake STACK=dev" in bare.outputs["next_step"]
    # And what it bakes with is there before there is an image.
    assert json.dumps(bare.one(PIPELINE).inputs)
