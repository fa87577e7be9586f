"""A policy over a frozen ResNet-10 with random weights."""

import hashlib

import torch
from safetensors.torch import save

from policies.policy import Policy
from policies.pretrained import load_frozen
from policies.resnet import FrozenResNet, file_name
from policies.spec import PolicySpec, build_policy

FRONT = "observation.images.front"


def frozen_policy() -> tuple[Policy, bytes]:
    """The policy, of one camera of 64 x 64 pixels, and the weights file of its frozen part."""
    torch.manual_seed(0)
    buffers = FrozenResNet("resnet10", "").named_buffers()
    file = save({file_name("resnet10", name): torch.rand(value.shape) for name, value in buffers})
    policy = build_policy(
        PolicySpec(
            action_size=2,
            hidden=(16,),
            images=(FRONT,),
            image_stacks=(1,),
            image_heights=(64,),
            image_widths=(64,),
            encoder="resnet10",
            encoder_size=32,
            encoder_sha256=hashlib.sha256(file).hexdigest(),
        )
    )
    load_frozen(policy, file)
    return policy, file
