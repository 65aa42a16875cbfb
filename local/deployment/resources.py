"""Makes the program's resources in moto: one function a type, from the provider's properties to
what AWS adds.

botocore checks what it is given, so a property without a counterpart in AWS's API is an error and
not ignored.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from local.aws.moto import Moto
from recording.model import ACCOUNT_ID

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]
Creator = Callable[[Moto, str, Inputs], Outputs]

CREATORS: dict[str, Creator] = {}

# Where botocore's name is not the provider's with a capital.
_ACRONYMS = {
    "id": "ID",
    "sseAlgorithm": "SSEAlgorithm",
    "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile",
}


def _creates(kind: str) -> Callable[[Creator], Creator]:
    def register(creator: Creator) -> Creator:
        CREATORS[kind] = creator
        return creator

    return register


def _api(value: Any) -> Any:
    """Nested properties in the API's spelling: `maxAge` becomes `MaxAge`."""
    if isinstance(value, Mapping):
        return {
            _ACRONYMS.get(key, key[:1].upper() + key[1:]): _api(item) for key, item in value.items()
        }
    return [_api(item) for item in value] if isinstance(value, list) else value


def _without(inputs: Inputs, *names: str) -> Outputs:
    return {key: value for key, value in inputs.items() if key not in names}


def _tags(inputs: Inputs) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in inputs.get("tags", {}).items()]


# --- EC2


def _ec2_tags(kind: str, inputs: Inputs) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": _tags(inputs)}] if inputs.get("tags") else []


def _ec2_arn(moto: Moto, kind: str, id_: str) -> str:
    return f"arn:aws:ec2:{moto.region}:{ACCOUNT_ID}:{kind}/{id_}"


@_creates("aws:ec2/vpc:Vpc")
def _vpc(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    vpc = ec2.create_vpc(
        CidrBlock=inputs["cidrBlock"],
        AmazonProvidedIpv6CidrBlock=inputs.get("assignGeneratedIpv6CidrBlock", False),
        TagSpecifications=_ec2_tags("vpc", inputs),
    )["Vpc"]
    for attribute in ("enableDnsSupport", "enableDnsHostnames"):
        if attribute in inputs:
            ec2.modify_vpc_attribute(
                VpcId=vpc["VpcId"], **_api({attribute: {"value": inputs[attribute]}})
            )
    blocks = [each["Ipv6CidrBlock"] for each in vpc.get("Ipv6CidrBlockAssociationSet", ())]
    return {
        "id": vpc["VpcId"],
        "arn": _ec2_arn(moto, "vpc", vpc["VpcId"]),
        "ipv6CidrBlock": blocks[0] if blocks else "",
    }


@_creates("aws:ec2/subnet:Subnet")
def _subnet(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    switches = ("mapPublicIpOnLaunch", "assignIpv6AddressOnCreation")
    subnet = ec2.create_subnet(
        **_api(_without(inputs, "tags", *switches)), TagSpecifications=_ec2_tags("subnet", inputs)
    )["Subnet"]
    for switch in switches:
        if switch in inputs:
            ec2.modify_subnet_attribute(
                SubnetId=subnet["SubnetId"], **_api({switch: {"value": inputs[switch]}})
            )
    return {"id": subnet["SubnetId"], "arn": subnet["SubnetArn"]}


@_creates("aws:ec2/internetGateway:InternetGateway")
def _internet_gateway(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    made = ec2.create_internet_gateway(TagSpecifications=_ec2_tags("internet-gateway", inputs))[
        "InternetGateway"
    ]
    ec2.attach_internet_gateway(InternetGatewayId=made["InternetGatewayId"], VpcId=inputs["vpcId"])
    return {
        "id": made["InternetGatewayId"],
        "arn": _ec2_arn(moto, "internet-gateway", made["InternetGatewayId"]),
    }


@_creates("aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway")
def _egress_only_internet_gateway(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").create_egress_only_internet_gateway(
        VpcId=inputs["vpcId"], TagSpecifications=_ec2_tags("egress-only-internet-gateway", inputs)
    )["EgressOnlyInternetGateway"]
    return {"id": made["EgressOnlyInternetGatewayId"]}


@_creates("aws:ec2/routeTable:RouteTable")
def _route_table(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").create_route_table(
        **_api(_without(inputs, "tags")), TagSpecifications=_ec2_tags("route-table", inputs)
    )["RouteTable"]
    return {"id": made["RouteTableId"], "arn": _ec2_arn(moto, "route-table", made["RouteTableId"])}


@_creates("aws:ec2/route:Route")
def _route(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    gateway = (
        {"EgressOnlyInternetGatewayId": inputs["egressOnlyGatewayId"]}
        if "egressOnlyGatewayId" in inputs
        else {}
    )
    moto.client("ec2").create_route(**_api(_without(inputs, "egressOnlyGatewayId")), **gateway)
    destination = inputs.get("destinationCidrBlock") or inputs.get("destinationIpv6CidrBlock")
    return {"id": f"r-{inputs['routeTableId']}-{destination}"}


@_creates("aws:ec2/routeTableAssociation:RouteTableAssociation")
def _route_table_association(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    return {"id": moto.client("ec2").associate_route_table(**_api(inputs))["AssociationId"]}


@_creates("aws:ec2/securityGroup:SecurityGroup")
def _security_group(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    group = ec2.create_security_group(
        GroupName=name,
        **_api(_without(inputs, "name", "tags")),
        TagSpecifications=_ec2_tags("security-group", inputs),
    )
    # The provider takes away the rules that let everything out, which EC2 gives every new group.
    own = [{"Name": "group-id", "Values": [group["GroupId"]]}]
    given = [
        each["SecurityGroupRuleId"]
        for each in ec2.describe_security_group_rules(Filters=own)["SecurityGroupRules"]
    ]
    ec2.revoke_security_group_egress(GroupId=group["GroupId"], SecurityGroupRuleIds=given)
    return {"id": group["GroupId"], "arn": _ec2_arn(moto, "security-group", group["GroupId"])}


@_creates("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
def _ingress_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").authorize_security_group_ingress(**_rule(inputs))
    return {"id": made["SecurityGroupRules"][0]["SecurityGroupRuleId"]}


@_creates("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
def _egress_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").authorize_security_group_egress(**_rule(inputs))
    return {"id": made["SecurityGroupRules"][0]["SecurityGroupRuleId"]}


# The other side of a rule: the provider's property, and the API's list and name.
_PEERS = {
    "cidrIpv4": ("IpRanges", "CidrIp"),
    "cidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
    "prefixListId": ("PrefixListIds", "PrefixListId"),
    "referencedSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
}


def _rule(inputs: Inputs) -> dict[str, Any]:
    about = {"Description": inputs["description"]} if "description" in inputs else {}
    permission: dict[str, Any] = {
        group: [{key: inputs[peer], **about}]
        for peer, (group, key) in _PEERS.items()
        if peer in inputs
    }
    permission |= _api(_without(inputs, "securityGroupId", "description", "tags", *_PEERS))
    return {
        "GroupId": inputs["securityGroupId"],
        "IpPermissions": [permission],
        "TagSpecifications": _ec2_tags("security-group-rule", inputs),
    }


@_creates("aws:ec2/vpcEndpoint:VpcEndpoint")
def _vpc_endpoint(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    ec2 = moto.client("ec2")
    made = ec2.create_vpc_endpoint(
        **_api(_without(inputs, "tags")), TagSpecifications=_ec2_tags("vpc-endpoint", inputs)
    )["VpcEndpoint"]
    lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
    prefixes = [
        each["PrefixListId"] for each in lists if each["PrefixListName"] == inputs["serviceName"]
    ]
    return {
        "id": made["VpcEndpointId"],
        "arn": _ec2_arn(moto, "vpc-endpoint", made["VpcEndpointId"]),
        "prefixListId": prefixes[0] if prefixes else None,
    }


@_creates("aws:ec2/instance:Instance")
def _instance(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    """Left `stopped`, as a node is after its first boot."""
    ec2 = moto.client("ec2")
    renamed = (
        "ami",
        "iamInstanceProfile",
        "rootBlockDevice",
        "vpcSecurityGroupIds",
        "tags",
        "volumeTags",
    )
    volume = {"tags": inputs.get("volumeTags", {})}
    instance = ec2.run_instances(
        **_api(_without(inputs, *renamed)),
        ImageId=inputs["ami"],
        IamInstanceProfile={"Name": inputs["iamInstanceProfile"]},
        SecurityGroupIds=inputs["vpcSecurityGroupIds"],
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": _api(inputs["rootBlockDevice"])}],
        TagSpecifications=[*_ec2_tags("instance", inputs), *_ec2_tags("volume", volume)],
        MinCount=1,
        MaxCount=1,
    )["Instances"][0]
    ec2.stop_instances(InstanceIds=[instance["InstanceId"]])
    return {
        "id": instance["InstanceId"],
        "arn": _ec2_arn(moto, "instance", instance["InstanceId"]),
        "availabilityZone": instance["Placement"]["AvailabilityZone"],
        "privateIp": instance["PrivateIpAddress"],
    }


# --- S3


@_creates("aws:s3/bucket:Bucket")
def _bucket(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    s3 = moto.client("s3")
    bucket = inputs.get("bucket", name)
    # us-east-1 is the one region that may not be named.
    where = (
        {}
        if moto.region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": moto.region}}
    )
    s3.create_bucket(Bucket=bucket, **where)
    if inputs.get("tags"):
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": _tags(inputs)})
    return {"id": bucket, "bucket": bucket, "arn": f"arn:aws:s3:::{bucket}"}


@_creates("aws:s3/bucketPolicy:BucketPolicy")
def _bucket_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    # moto judges every request by the policy but knows no conditions: "deny what is not TLS" would
    # deny everything.
    policy = json.loads(inputs["policy"])
    statements = [each for each in policy["Statement"] if "Condition" not in each]
    if statements:
        moto.client("s3").put_bucket_policy(
            Bucket=inputs["bucket"], Policy=json.dumps({**policy, "Statement": statements})
        )
    return {"id": inputs["bucket"]}


@_creates("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
def _bucket_public_access_block(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_public_access_block(
        Bucket=inputs["bucket"], PublicAccessBlockConfiguration=_api(_without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}


@_creates("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
def _bucket_encryption(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_bucket_encryption(
        Bucket=inputs["bucket"], ServerSideEncryptionConfiguration=_api(_without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}


@_creates("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
def _bucket_lifecycle(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("s3").put_bucket_lifecycle_configuration(
        Bucket=inputs["bucket"], LifecycleConfiguration=_api(_without(inputs, "bucket"))
    )
    return {"id": inputs["bucket"]}


# --- IAM


@_creates("aws:iam/role:Role")
def _role(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    role = moto.client("iam").create_role(
        RoleName=name,
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Tags=_tags(inputs),
        **_api(_without(inputs, "name", "assumeRolePolicy", "tags")),
    )["Role"]
    return {"id": name, "arn": role["Arn"]}


@_creates("aws:iam/rolePolicy:RolePolicy")
def _role_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("iam").put_role_policy(
        RoleName=inputs["role"], PolicyName=name, PolicyDocument=inputs["policy"]
    )
    return {"id": f"{inputs['role']}:{name}"}


@_creates("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
def _role_policy_attachment(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    # AWS's own policies are not in moto: reading all of them takes it a second at each start.
    if not inputs["policyArn"].startswith("arn:aws:iam::aws:"):
        moto.client("iam").attach_role_policy(
            RoleName=inputs["role"], PolicyArn=inputs["policyArn"]
        )
    return {"id": f"{inputs['role']}/{inputs['policyArn']}"}


@_creates("aws:iam/instanceProfile:InstanceProfile")
def _instance_profile(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    iam = moto.client("iam")
    profile = iam.create_instance_profile(InstanceProfileName=name, Tags=_tags(inputs))[
        "InstanceProfile"
    ]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=inputs["role"])
    return {"id": name, "arn": profile["Arn"]}


# --- Cognito


@_creates("aws:cognito/userPool:UserPool")
def _user_pool(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    pool = moto.client("cognito-idp").create_user_pool(
        PoolName=name,
        Policies=_api({"passwordPolicy": inputs["passwordPolicy"]}),
        UserPoolTags=inputs.get("tags", {}),
        **_api(_without(inputs, "name", "passwordPolicy", "tags")),
    )["UserPool"]
    endpoint = f"cognito-idp.{moto.region}.amazonaws.com/{pool['Id']}"
    return {"id": pool["Id"], "arn": pool["Arn"], "endpoint": endpoint}


@_creates("aws:cognito/userPoolClient:UserPoolClient")
def _user_pool_client(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    client = moto.client("cognito-idp").create_user_pool_client(
        ClientName=name, **_api(_without(inputs, "name"))
    )
    return {"id": client["UserPoolClient"]["ClientId"]}


# --- Messages, logs, money


@_creates("aws:ssm/parameter:Parameter")
def _parameter(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("ssm").put_parameter(
        Name=name, Tags=_tags(inputs), **_api(_without(inputs, "name", "tags"))
    )
    return {
        "id": name,
        "arn": f"arn:aws:ssm:{moto.region}:{ACCOUNT_ID}:parameter/{name.removeprefix('/')}",
    }


@_creates("aws:sns/topic:Topic")
def _topic(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    topic = moto.client("sns").create_topic(
        Name=name, Attributes=_api(_without(inputs, "name", "tags")), Tags=_tags(inputs)
    )
    return {"id": topic["TopicArn"], "arn": topic["TopicArn"]}


@_creates("aws:sns/topicPolicy:TopicPolicy")
def _topic_policy(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("sns").set_topic_attributes(
        TopicArn=inputs["arn"], AttributeName="Policy", AttributeValue=inputs["policy"]
    )
    return {"id": inputs["arn"]}


@_creates("aws:cloudwatch/logGroup:LogGroup")
def _log_group(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    logs = moto.client("logs")
    logs.create_log_group(logGroupName=name, tags=inputs.get("tags", {}))
    if inputs.get("retentionInDays"):
        logs.put_retention_policy(logGroupName=name, retentionInDays=inputs["retentionInDays"])
    return {"id": name, "arn": f"arn:aws:logs:{moto.region}:{ACCOUNT_ID}:log-group:{name}"}


@_creates("aws:cloudwatch/metricAlarm:MetricAlarm")
def _metric_alarm(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    renamed = {"AlarmName": name, "Tags": _tags(inputs), "OKActions": inputs.get("okActions", [])}
    if "dimensions" in inputs:
        renamed["Dimensions"] = [
            {"Name": key, "Value": value} for key, value in inputs["dimensions"].items()
        ]
    kept = _without(inputs, "name", "tags", "dimensions", "okActions", "comparisonOperator")
    moto.client("cloudwatch").put_metric_alarm(
        ComparisonOperator=inputs["comparisonOperator"], **_api(kept), **renamed
    )
    return {"id": name, "arn": f"arn:aws:cloudwatch:{moto.region}:{ACCOUNT_ID}:alarm:{name}"}


@_creates("aws:cloudwatch/dashboard:Dashboard")
def _dashboard(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("cloudwatch").put_dashboard(**_api(_without(inputs, "name")))
    return {"id": inputs["dashboardName"]}


@_creates("aws:cloudwatch/eventRule:EventRule")
def _event_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    rule = moto.client("events").put_rule(
        Name=name, Tags=_tags(inputs), **_api(_without(inputs, "name", "tags"))
    )
    return {"id": name, "arn": rule["RuleArn"]}


@_creates("aws:cloudwatch/eventTarget:EventTarget")
def _event_target(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    target = {
        "Id": inputs.get("targetId", name),
        **_api(_without(inputs, "rule", "targetId", "name")),
    }
    moto.client("events").put_targets(Rule=inputs["rule"], Targets=[target])
    return {"id": f"{inputs['rule']}-{target['Id']}"}


@_creates("aws:budgets/budget:Budget")
def _budget(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    filters = {each["name"]: each["values"] for each in inputs.get("costFilters", ())}
    budget = {
        "BudgetName": name,
        "BudgetType": inputs["budgetType"],
        "TimeUnit": inputs["timeUnit"],
        "BudgetLimit": {"Amount": inputs["limitAmount"], "Unit": inputs["limitUnit"]},
        "CostFilters": filters,
    }
    moto.client("budgets").create_budget(
        AccountId=ACCOUNT_ID,
        Budget=budget,
        NotificationsWithSubscribers=[
            _notification(each) for each in inputs.get("notifications", ())
        ],
    )
    return {"id": f"{ACCOUNT_ID}:{name}", "arn": f"arn:aws:budgets::{ACCOUNT_ID}:budget/{name}"}


def _notification(inputs: Inputs) -> dict[str, Any]:
    topics = [
        {"SubscriptionType": "SNS", "Address": arn}
        for arn in inputs.get("subscriberSnsTopicArns", ())
    ]
    mails = [
        {"SubscriptionType": "EMAIL", "Address": mail}
        for mail in inputs.get("subscriberEmailAddresses", ())
    ]
    about = _without(inputs, "subscriberSnsTopicArns", "subscriberEmailAddresses")
    return {"Notification": _api(about), "Subscribers": [*topics, *mails]}
