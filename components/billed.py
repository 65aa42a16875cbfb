"""Which resources cost money, and by which items of the price list."""

from collections.abc import Mapping
from typing import Any

from components import prices

ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
BALANCER = "aws:lb/loadBalancer:LoadBalancer"
BUILD = "aws:codebuild/project:Project"
BUCKET = "aws:s3/bucket:Bucket"
CACHE = "aws:elasticache/replicationGroup:ReplicationGroup"
CANARY = "aws:synthetics/canary:Canary"
CERTIFICATE = "aws:acm/certificate:Certificate"
DASHBOARD = "aws:cloudwatch/dashboard:Dashboard"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
FUNCTION = "aws:lambda/function:Function"
IMAGE_PIPELINE = "aws:imagebuilder/imagePipeline:ImagePipeline"
INSTANCE = "aws:ec2/instance:Instance"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
PIPELINE = "aws:codepipeline/pipeline:Pipeline"
STAGE = "aws:apigateway/stage:Stage"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
USER_POOL = "aws:cognito/userPool:UserPool"

# The items that the lines for each billed type must have; every other type that the program uses is
# in FREE.
_BILLED: dict[str, frozenset[str]] = {
    ALARM: frozenset({"alarm"}),
    BALANCER: frozenset({"NLB", "NLB capacity"}),
    BUILD: frozenset(),
    BUCKET: frozenset({"S3 storage", "S3 write", "S3 read"}),
    CACHE: frozenset(),
    CANARY: frozenset({"canary run"}),
    CERTIFICATE: frozenset({"public certificate"}),
    DASHBOARD: frozenset({"dashboard"}),
    ENDPOINT: frozenset(),
    FUNCTION: frozenset({"Lambda request"}),
    IMAGE_PIPELINE: frozenset({"m7i.large"}),
    INSTANCE: frozenset({"gp3 volume", "EBS snapshot", "public IPv4 address"}),
    LOG_GROUP: frozenset({"log ingestion"}),
    PIPELINE: frozenset({"pipeline minute"}),
    STAGE: frozenset({"REST request", "trace"}),
    SUBSCRIPTION: frozenset(),
    USER_POOL: frozenset({"monthly active user"}),
}
FREE: dict[str, str] = {
    "aws:acm/certificateValidation:CertificateValidation": "waits, and is nothing itself",
    "aws:apigateway/account:Account": "a setting",
    "aws:apigateway/apiKey:ApiKey": "a name; requests are billed at the stage",
    "aws:apigateway/deployment:Deployment": "a snapshot; requests are billed at the stage",
    "aws:apigateway/methodSettings:MethodSettings": "a setting",
    "aws:apigateway/restApi:RestApi": "requests are billed at its stage",
    "aws:apigateway/usagePlan:UsagePlan": "a setting",
    "aws:apigateway/usagePlanKey:UsagePlanKey": "a setting",
    "aws:budgets/budget:Budget": "free without actions",
    "aws:cloudwatch/eventRule:EventRule": "rules of the default bus are free",
    "aws:cloudwatch/eventTarget:EventTarget": "AWS's own events are free",
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": "its metric is counted with the others",
    "aws:cloudwatch/queryDefinition:QueryDefinition": "a saved text; a query costs per GB it scans",
    "aws:cognito/userPoolClient:UserPoolClient": "users are billed at their pool",
    "aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway": "free",
    "aws:ec2/internetGateway:InternetGateway": "free",
    "aws:ec2/route:Route": "free",
    "aws:ec2/routeTable:RouteTable": "free",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "free",
    "aws:ec2/securityGroup:SecurityGroup": "free",
    "aws:ec2/subnet:Subnet": "free",
    "aws:ec2/vpc:Vpc": "free",
    "aws:elasticache/parameterGroup:ParameterGroup": "a setting",
    "aws:elasticache/subnetGroup:SubnetGroup": "a setting",
    "aws:iam/instanceProfile:InstanceProfile": "IAM is free",
    "aws:iam/role:Role": "IAM is free",
    "aws:iam/rolePolicy:RolePolicy": "IAM is free",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "IAM is free",
    "aws:imagebuilder/component:Component": "Image Builder is free; its builder is billed",
    "aws:imagebuilder/distributionConfiguration:DistributionConfiguration": "a setting",
    "aws:imagebuilder/imageRecipe:ImageRecipe": "a text; bakes are billed at their pipeline",
    "aws:imagebuilder/infrastructureConfiguration:InfrastructureConfiguration": "a setting",
    "aws:lambda/alias:Alias": "a name",
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": "a setting",
    "aws:lambda/invocation:Invocation": "a call or two, counted with its function's",
    "aws:lambda/permission:Permission": "a setting",
    "aws:lb/listener:Listener": "billed with its balancer",
    "aws:lb/targetGroup:TargetGroup": "billed with its balancer",
    "aws:lb/targetGroupAttachment:TargetGroupAttachment": "billed with its balancer",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": "a setting",
    "aws:s3/bucketObjectv2:BucketObjectv2": "some 100 kB, within what its bucket is billed for",
    "aws:s3/bucketPolicy:BucketPolicy": "a setting",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "a setting",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "a setting, and S3's own key is free"
    ),
    "aws:scheduler/schedule:Schedule": "14 million calls a month are free",
    "aws:scheduler/scheduleGroup:ScheduleGroup": "a name",
    "aws:sns/topic:Topic": "functions hear for free; mails are billed at their subscription",
    "aws:sns/topicPolicy:TopicPolicy": "a setting",
    "aws:ssm/parameter:Parameter": "standard parameters are free",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "free",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "free",
}


def billed_items(kind: str, inputs: Mapping[str, Any]) -> frozenset[str]:
    """The items of the price list that a resource with these inputs is billed by; KeyError for an
    unknown type.
    """
    match kind, inputs:
        case "aws:elasticache/replicationGroup:ReplicationGroup", {
            "engine": engine,
            "nodeType": size,
        }:
            return frozenset({prices.cache_item(engine, size)})
        case "aws:codebuild/project:Project", {"environment": {"computeType": size}}:
            return frozenset({prices.BUILD_SIZES[size]})
        case "aws:lambda/function:Function", {"architectures": [architecture]}:
            disk_mb = inputs.get("ephemeralStorage", {}).get("size", 0)
            run_time = prices.run_time(architecture, 0, disk_mb)
            return _BILLED[kind] | {item for item, _, _ in run_time}
        case "aws:ec2/instance:Instance", {"instanceType": size}:
            faster = "throughput" in inputs.get("rootBlockDevice", {})
            return _BILLED[kind] | {size} | ({"gp3 throughput"} if faster else set())
        case "aws:ec2/vpcEndpoint:VpcEndpoint", {"vpcEndpointType": "Interface"}:
            return frozenset({"interface endpoint"})
        case "aws:sns/topicSubscription:TopicSubscription", {"protocol": "email"}:
            return frozenset({"mail"})
    return frozenset() if kind in FREE else _BILLED[kind]
