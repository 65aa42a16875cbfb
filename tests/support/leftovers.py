"""What is left in moto, service by service."""

from collections.abc import Iterator
from typing import Any

from local.aws.moto import Moto
from recording.model import ACCOUNT_ID

# Service, operation, its parameters, the list in its answer, and what names an item, which may be
# a name itself.
_LISTS = (
    ("acm", "list_certificates", {}, "CertificateSummaryList", "CertificateArn"),
    ("apigateway", "get_rest_apis", {}, "items", "name"),
    ("cloudwatch", "describe_alarms", {}, "MetricAlarms", "AlarmName"),
    ("cloudwatch", "list_dashboards", {}, "DashboardEntries", "DashboardName"),
    ("codebuild", "list_projects", {}, "projects", ""),
    ("codepipeline", "list_pipelines", {}, "pipelines", "name"),
    ("cognito-idp", "list_user_pools", {"MaxResults": 60}, "UserPools", "Id"),
    ("ec2", "describe_vpcs", {}, "Vpcs", "VpcId"),
    ("ec2", "describe_subnets", {}, "Subnets", "SubnetId"),
    ("ec2", "describe_route_tables", {}, "RouteTables", "RouteTableId"),
    ("ec2", "describe_internet_gateways", {}, "InternetGateways", "InternetGatewayId"),
    (
        "ec2",
        "describe_egress_only_internet_gateways",
        {},
        "EgressOnlyInternetGateways",
        "EgressOnlyInternetGatewayId",
    ),
    ("ec2", "describe_security_groups", {}, "SecurityGroups", "GroupId"),
    ("ec2", "describe_security_group_rules", {}, "SecurityGroupRules", "SecurityGroupRuleId"),
    ("ec2", "describe_volumes", {}, "Volumes", "VolumeId"),
    ("ec2", "describe_network_interfaces", {}, "NetworkInterfaces", "NetworkInterfaceId"),
    ("elbv2", "describe_load_balancers", {}, "LoadBalancers", "LoadBalancerName"),
    ("elbv2", "describe_target_groups", {}, "TargetGroups", "TargetGroupName"),
    ("events", "list_rules", {}, "Rules", "Name"),
    ("iam", "list_roles", {}, "Roles", "RoleName"),
    ("iam", "list_instance_profiles", {}, "InstanceProfiles", "InstanceProfileName"),
    ("iam", "list_policies", {"Scope": "Local"}, "Policies", "PolicyName"),
    ("lambda", "list_functions", {}, "Functions", "FunctionName"),
    ("logs", "describe_log_groups", {}, "logGroups", "logGroupName"),
    ("s3", "list_buckets", {}, "Buckets", "Name"),
    ("sns", "list_topics", {}, "Topics", "TopicArn"),
    ("ssm", "describe_parameters", {}, "Parameters", "Name"),
)
# States of what AWS lists for a while after it is gone.
_GONE = ("terminated", "deleted")


def inventory(moto: Moto) -> set[str]:
    """Everything that exists, as `service: name`."""
    found = {
        f"{service}: {each[named] if named else each}"
        for service, operation, options, listed, named in _LISTS
        for each in _listed(moto.client(service), operation, options, listed)
        if not named or each.get("State") not in _GONE
    }
    budgets = moto.client("budgets").describe_budgets(AccountId=ACCOUNT_ID)
    found |= {f"budgets: {each['BudgetName']}" for each in budgets.get("Budgets", ())}
    return found | _running(moto) | _endpoints(moto)


def _listed(client: Any, operation: str, options: dict[str, Any], listed: str) -> Iterator[Any]:
    if not client.can_paginate(operation):
        yield from getattr(client, operation)(**options).get(listed, ())
        return
    for page in client.get_paginator(operation).paginate(**options):
        yield from page.get(listed, ())


def _running(moto: Moto) -> set[str]:
    reservations = moto.client("ec2").describe_instances()["Reservations"]
    instances = [each for reservation in reservations for each in reservation["Instances"]]
    return {
        f"ec2: {each['InstanceId']}" for each in instances if each["State"]["Name"] not in _GONE
    }


def _endpoints(moto: Moto) -> set[str]:
    endpoints = moto.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    kept = [each for each in endpoints if each.get("State", "").lower() not in _GONE]
    return {f"ec2: {each['VpcEndpointId']}" for each in kept}


def stray_interfaces(moto: Moto) -> set[str]:
    """The interfaces whose subnet is gone, as `inventory` names them: AWS deletes no subnet below
    an interface, and moto keeps those of terminated instances.
    """
    ec2 = moto.client("ec2")
    subnets = {each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]}
    interfaces = ec2.describe_network_interfaces()["NetworkInterfaces"]
    stray = [each for each in interfaces if each["SubnetId"] not in subnets]
    return {f"ec2: {each['NetworkInterfaceId']}" for each in stray}
