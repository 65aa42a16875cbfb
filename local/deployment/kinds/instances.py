"""Machines, made in moto."""

import base64
from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, reads, removes
from local.deployment.kinds.network import ec2_arn, ec2_retag, ec2_tags
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, tag_map, without
from recording import kinds


@makes(kinds.ec2.INSTANCE)
def _instance(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    """Left `stopped`, as a node is after its first boot."""
    ec2 = moto.client("ec2")
    renamed = ("ami", "iamInstanceProfile", "rootBlockDevice", "vpcSecurityGroupIds")
    # The provider's default; moto would keep the volume.
    device = {"deleteOnTermination": True, **inputs["rootBlockDevice"]}
    volume = {"tags": inputs.get("volumeTags", {})}
    instance = ec2.run_instances(
        **api(without(inputs, *renamed, "tags", "volumeTags")),
        ImageId=inputs["ami"],
        IamInstanceProfile={"Name": inputs["iamInstanceProfile"]},
        SecurityGroupIds=inputs["vpcSecurityGroupIds"],
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": api(device)}],
        TagSpecifications=[*ec2_tags("instance", inputs), *ec2_tags("volume", volume)],
        MinCount=1,
        MaxCount=1,
    )["Instances"][0]
    ec2.stop_instances(InstanceIds=[instance["InstanceId"]])
    return {
        "id": instance["InstanceId"],
        "arn": ec2_arn(moto, "instance", instance["InstanceId"]),
        "availabilityZone": instance["Placement"]["AvailabilityZone"],
        "privateIp": instance["PrivateIpAddress"],
    }


def _found(moto: Moto, id_: str) -> dict[str, Any]:
    reservations = moto.client("ec2").describe_instances(InstanceIds=[id_])["Reservations"]
    return reservations[0]["Instances"][0]


def _root_volume(moto: Moto, instance: Inputs) -> dict[str, Any]:
    (mapping,) = instance["BlockDeviceMappings"]
    volumes = moto.client("ec2").describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])
    return volumes["Volumes"][0]


# --- changed in place

_BEHAVIOUR = "instanceInitiatedShutdownBehavior"


@changes(
    kinds.ec2.INSTANCE,
    "tags",
    "volumeTags",
    "vpcSecurityGroupIds",
    "metadataOptions",
    _BEHAVIOUR,
    "iamInstanceProfile",
    "rootBlockDevice",
    "instanceType",
    "userData",
)
def _change_instance(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    changed = {key for key in new if new[key] != old.get(key)}
    instance = _found(moto, id_)
    if "iamInstanceProfile" in changed:
        _change_profile(moto, id_, new["iamInstanceProfile"])
    _change_attributes(moto, id_, {key: new[key] for key in changed})
    if "rootBlockDevice" in changed:
        _change_volume(moto, instance, new["rootBlockDevice"])
    ec2_retag(moto, id_, old, new)
    ec2_retag(moto, _root_volume(moto, instance)["VolumeId"], old, new, "volumeTags")
    if "instanceType" in changed:
        _restart_with(moto, id_, InstanceType={"Value": new["instanceType"]})
    if "userData" in changed:
        # moto decodes it once more than boto3 encodes it.
        encoded = base64.b64encode(new["userData"].encode())
        _restart_with(moto, id_, UserData={"Value": encoded})
    return {}


def _change_attributes(moto: Moto, id_: str, changed: Inputs) -> None:
    ec2 = moto.client("ec2")
    if groups := changed.get("vpcSecurityGroupIds"):
        ec2.modify_instance_attribute(InstanceId=id_, Groups=groups)
    if options := changed.get("metadataOptions"):
        ec2.modify_instance_metadata_options(InstanceId=id_, **api(options))
    if behaviour := changed.get(_BEHAVIOUR):
        # In a structure, as is usual, moto takes it for a change of the security groups.
        ec2.modify_instance_attribute(InstanceId=id_, Attribute=_BEHAVIOUR, Value=behaviour)


def _change_profile(moto: Moto, id_: str, name: str) -> None:
    ec2 = moto.client("ec2")
    own = [{"Name": "instance-id", "Values": [id_]}]
    found = ec2.describe_iam_instance_profile_associations(Filters=own)
    for each in found["IamInstanceProfileAssociations"]:
        ec2.disassociate_iam_instance_profile(AssociationId=each["AssociationId"])
    ec2.associate_iam_instance_profile(InstanceId=id_, IamInstanceProfile={"Name": name})


def _change_volume(moto: Moto, instance: Inputs, device: Inputs) -> None:
    moto.client("ec2").modify_volume(
        VolumeId=_root_volume(moto, instance)["VolumeId"],
        Size=device["volumeSize"],
        VolumeType=device["volumeType"],
    )


def _restart_with(moto: Moto, id_: str, **attribute: Any) -> None:
    """Stops, modifies and *starts* the instance, a stopped one too, as the provider does
    (`modifyInstanceAttributeWithStopStart`).
    """
    ec2 = moto.client("ec2")
    ec2.stop_instances(InstanceIds=[id_])
    ec2.modify_instance_attribute(InstanceId=id_, **attribute)
    ec2.start_instances(InstanceIds=[id_])


# --- read and removed


@reads(kinds.ec2.INSTANCE)
def _read_instance(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    instance = _found(moto, id_)
    if instance["State"]["Name"] in ("shutting-down", "terminated"):
        return None
    volume = _root_volume(moto, instance)
    profile = instance.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2]
    return {
        **properties(without(instance, "Tags")),
        "ami": instance["ImageId"],
        "iamInstanceProfile": profile,
        "vpcSecurityGroupIds": [each["GroupId"] for each in instance["SecurityGroups"]],
        _BEHAVIOUR: _attribute(moto, id_, _BEHAVIOUR),
        "userData": moto.user_data_and_role(instance)[0] or "",
        "rootBlockDevice": {**properties(volume), "volumeSize": volume["Size"]},
        "volumeTags": tag_map(volume.get("Tags", ())),
        "tags": tag_map(instance.get("Tags", ())),
    }


def _attribute(moto: Moto, id_: str, name: str) -> Any:
    answer = moto.client("ec2").describe_instance_attribute(InstanceId=id_, Attribute=name)
    return properties(answer)[name]["value"]


@removes(kinds.ec2.INSTANCE)
def _remove_instance(moto: Moto, id_: str, outputs: Outputs) -> None:
    """Its network interface goes with it, which moto would keep."""
    ec2 = moto.client("ec2")
    interfaces = _found(moto, id_)["NetworkInterfaces"]
    ec2.terminate_instances(InstanceIds=[id_])
    for each in interfaces:
        ec2.delete_network_interface(NetworkInterfaceId=each["NetworkInterfaceId"])
