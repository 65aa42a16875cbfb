"""Whether the account may run the nodes: EC2's quota of vCPUs for machines with GPUs."""

import pulumi
import pulumi_aws as aws

from components.prices import VCPUS
from components.settings import GpuSettings

# "Running On-Demand G and VT instances" and "All G and VT Spot Instance Requests", in vCPUs; a new
# account has none, and one says nothing of the other.
QUOTA, SPOT_QUOTA = "L-DB2E81BA", "L-3819A6DF"


def check(gpu: GpuSettings, region: str) -> None:
    """Warns when the quota has fewer vCPUs than the nodes need, and says how to ask for more.

    Says so, and lets everything go on, where Service Quotas does not answer: whoever may preview
    need not have the right to ask it (servicequotas:GetServiceQuota).
    """
    if not gpu.has_nodes:
        return
    needed = VCPUS[gpu.instance_type] * gpu.count
    quota, of = (SPOT_QUOTA, "spot requests") if gpu.spot else (QUOTA, "instances")
    try:
        granted = aws.servicequotas.get_service_quota(service_code="ec2", quota_code=quota).value
    except Exception as refusal:
        reason = str(refusal).partition("\n")[0]
        pulumi.log.info(
            f"EC2's quota {quota} was not read, the nodes need {needed} vCPUs: {reason}"
        )
        return
    if granted < needed:
        pulumi.log.warn(
            f"gpu:count = {gpu.count}: the nodes need {needed} vCPUs, and this account may run "
            f"{granted:g} of G and VT {of} in {region}: AWS will refuse to start them. Ask "
            "for more, it can take days: aws service-quotas request-service-quota-increase "
            f"--region {region} --service-code ec2 --quota-code {quota} --desired-value {needed}"
        )
