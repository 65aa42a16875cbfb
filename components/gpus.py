"""Which GPU an instance type has; its price and vCPUs are in components/prices.py."""

from tlfif import serving
from tlfif.serving import Gpu

_GPUS: dict[str, Gpu] = {
    "g4dn.xlarge": serving.T4,
    "g4dn.2xlarge": serving.T4,
    "g5.xlarge": serving.A10G,
    "g6.xlarge": serving.L4,
    "g6f.large": serving.L4_EIGHTH,
    "g6f.xlarge": serving.L4_EIGHTH,
}


def gpu_of(instance_type: str) -> Gpu:
    """The one GPU of an instance type; KeyError for one that is not in the list."""
    return _GPUS[instance_type]


def needs_own_image(instance_type: str) -> bool:
    """Whether its GPU is a virtual one: the driver of the image that is baked refuses those."""
    return gpu_of(instance_type) is serving.L4_EIGHTH
