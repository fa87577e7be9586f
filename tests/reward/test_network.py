"""Every trainable layer is trained, whatever the size of the images, and a frozen encoder is not."""

import hashlib

import pytest
import torch
from safetensors.torch import save

from policies.resnet import FrozenResNet, file_name
from reward.network import ClassifierNetwork, NetworkSpec


def resnet_file():
    generator = torch.Generator().manual_seed(0)
    buffers = FrozenResNet("resnet10", "").named_buffers()
    return save({file_name("resnet10", n): torch.rand(v.shape, generator=generator) * 0.05 for n, v in buffers})


def network_of(encoder):
    if encoder == "small":
        return ClassifierNetwork(NetworkSpec(2))
    data = resnet_file()
    network = ClassifierNetwork(NetworkSpec(2, encoder, hashlib.sha256(data).hexdigest()))
    network.trunk.load(data)
    return network


@pytest.mark.parametrize("encoder", ["small", "resnet10"])
@pytest.mark.parametrize("size", [(32, 32), (48, 80)])
def test_gradients_reach_every_trainable_layer(encoder, size):
    torch.manual_seed(0)
    network = network_of(encoder)
    images = [torch.randn(6, 3, *size) for _ in range(2)]
    network(images).square().sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert any(name.startswith("projections") for name, _ in network.named_parameters())
    assert not any(name.startswith("trunk") for name, _ in network.named_parameters())


def test_a_frame_alone_has_the_logit_it_has_in_a_batch():
    network = network_of("small").eval()
    images = [torch.randn(5, 3, 40, 40) for _ in range(2)]
    with torch.inference_mode():
        alone = torch.cat([network([image[i : i + 1] for image in images]) for i in range(5)])
        torch.testing.assert_close(network(images), alone, rtol=1e-5, atol=1e-6)
