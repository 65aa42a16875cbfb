"""Makes the program's resources in moto: one function a kind, a file a service, as in
recording/kinds/.

botocore checks what it is given, so a property without a counterpart in AWS's API is an error and
not ignored.
"""

from local.deployment.kinds import cognito, ec2, iam, monitoring, s3, ssm
from local.deployment.kinds.maker import MAKERS

__all__ = ["MAKERS", "cognito", "ec2", "iam", "monitoring", "s3", "ssm"]
