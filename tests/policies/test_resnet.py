import copy
import hashlib

import pytest
import torch
from safetensors.torch import save
from torch.nn import functional as F

from policies.resnet import EncoderFileError, FrozenResNet, read_weights


@pytest.fixture
def loaded(weights_file):
    def build(encoder, **arguments):
        data, sha256 = weights_file(encoder, **arguments)
        trunk = FrozenResNet(encoder, sha256)
        trunk.load(data)
        return trunk

    return build


def frames(height=96, width=128):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("size", [(128, 128), (96, 100), (84, 33)])
def test_resnet18_is_that_of_torchvision(size, random_weights):
    torchvision = pytest.importorskip("torchvision")
    peer = torchvision.models.resnet18(weights=None).eval()
    peer.load_state_dict(peer.state_dict() | random_weights("resnet18"))
    data = save({name: value.contiguous() for name, value in peer.state_dict().items()})
    trunk = FrozenResNet("resnet18", hashlib.sha256(data).hexdigest())
    trunk.load(data)
    children = dict(peer.named_children())
    expected = frames(*size)
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        expected = children[name](expected)
    assert expected.shape[2:] == tuple(-(-side // 32) for side in size)
    torch.testing.assert_close(trunk(frames(*size)), expected.detach(), atol=1e-4, rtol=1e-4)


def hilserl(weights, x):
    """An independent reference of HIL-SERL's ResNet-10 by the names of its published file, padded as JAX does."""

    def padded(x, kernel, stride):
        for dim in (2, 3):
            missing = max((-(-x.shape[dim] // stride) - 1) * stride + kernel - x.shape[dim], 0)
            before, after = (list(x.shape) for _ in range(2))
            before[dim], after[dim] = missing // 2, missing - missing // 2
            x = torch.cat((x.new_zeros(before), x, x.new_zeros(after)), dim)
        return x

    def conv(name, x, stride, kernel):
        return F.conv2d(padded(x, kernel, stride), weights[f"{name}.weight"], stride=stride)

    def norm(name, x):
        groups = x.unflatten(1, (4, -1))
        centred = groups - groups.mean((2, 3, 4), keepdim=True)
        x = (centred / (centred.square().mean((2, 3, 4), keepdim=True) + 1e-5).sqrt()).flatten(1, 2)
        return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    x = F.conv2d(F.pad(x, (3, 3, 3, 3)), weights["embedder.0.weight"], stride=2)
    x = padded(norm("embedder.1", x).clamp(min=0), 3, 2)
    x = x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2))
    for stage in range(4):
        name, stride = f"encoder.stages.{stage}", 2 if stage else 1
        y = norm(f"{name}.norm1", conv(f"{name}.conv1", x, stride, 3)).clamp(min=0)
        y = norm(f"{name}.norm2", conv(f"{name}.conv2", y, 1, 3))
        if stage:
            x = norm(f"{name}.shortcut.1", conv(f"{name}.shortcut.0", x, stride, 1))
        x = (x + y).clamp(min=0)
    return x


@pytest.mark.parametrize("size", [(128, 128), (96, 100), (84, 33)])
def test_resnet10_is_that_of_hil_serl(size, loaded, random_weights):
    weights = {name: value.double() for name, value in random_weights("resnet10").items()}
    expected = hilserl(weights, frames(*size).double())
    assert expected.shape[1:] == (512, *(-(-side // 32) for side in size))
    torch.testing.assert_close(loaded("resnet10")(frames(*size)).double(), expected, atol=1e-4, rtol=1e-4)


def test_resnet10_is_read_with_wrapped_convolutions_too(loaded):
    def wrap(tensors):
        for name in [n for n in tensors if "conv" in n or "shortcut.0" in n]:
            tensors[name.replace(".weight", ".conv.weight")] = tensors.pop(name)

    torch.testing.assert_close(loaded("resnet10", change=wrap)(frames()), loaded("resnet10")(frames()))


def test_the_head_and_the_counts_of_a_file_are_left_out(loaded):
    def classifier(tensors):
        tensors["fc.weight"], tensors["fc.bias"] = torch.randn(1000, 512), torch.randn(1000)
        tensors["bn1.num_batches_tracked"] = torch.tensor(9)

    torch.testing.assert_close(loaded("resnet18", change=classifier)(frames()), loaded("resnet18")(frames()))


def test_a_file_of_another_network_is_one_clear_error(weights_file):
    data, _ = weights_file("resnet10")
    text = (
        r"the weights are not those of encoder 'resnet18': 'conv1\.weight' is missing; 'bn1\.weight' is missing; "
        r"'bn1\.bias' is missing; and \d+ more"
    )
    with pytest.raises(EncoderFileError, match=text):
        read_weights(data, "resnet18")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("layer3.1.conv2.weight"), r"'layer3\.1\.conv2\.weight' is missing"),
        (lambda t: t.update(extra=torch.zeros(2)), "'extra' is unexpected"),
        (
            lambda t: t.update({"conv1.weight": torch.zeros(64, 4, 7, 7)}),
            r"'conv1\.weight' must be float32 of shape \(64, 3, 7, 7\)\. Got: float32 \(64, 4, 7, 7\)",
        ),
        (
            lambda t: t.update({"bn1.bias": t["bn1.bias"].half()}),
            r"'bn1\.bias' must be float32 .* Got: float16 \(64,\)",
        ),
        (lambda t: t["layer4.0.bn1.bias"].fill_(float("nan")), r"'layer4\.0\.bn1\.bias' is not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_nothing_loaded(change, text, weights_file):
    data, sha256 = weights_file("resnet18", change=change)
    trunk = FrozenResNet("resnet18", sha256)
    with pytest.raises(EncoderFileError, match=text):
        trunk.load(data)
    assert trunk.file is None
    assert not any(buffer.any() for buffer in trunk.buffers())


def test_another_file_than_the_named_one_is_refused(weights_file):
    named, other = weights_file("resnet18", seed=0), weights_file("resnet18", seed=1)
    trunk = FrozenResNet("resnet18", named[1])
    with pytest.raises(EncoderFileError, match=f"'resnet18' must have sha256 {named[1]}. Got: {other[1]}"):
        trunk.load(other[0])
    with pytest.raises(EncoderFileError, match="must be a safetensors file"):
        read_weights(b"PK\x03\x04 a pickled checkpoint", "resnet18")


def test_it_refuses_to_run_without_its_weights():
    with pytest.raises(EncoderFileError, match=r"'resnet18' .* were not loaded"):
        FrozenResNet("resnet18", "0" * 64)(frames())


@pytest.mark.parametrize("name", ["resnet10", "resnet18"])
def test_nothing_of_it_can_be_trained_or_moved_by_training(name, loaded):
    trunk = loaded(name)
    before = {key: value.clone() for key, value in trunk.named_buffers()}
    still = trunk.eval()(frames())
    x = frames().requires_grad_()
    training = trunk.train()(x)
    assert not training.requires_grad
    torch.testing.assert_close(training, still, atol=0, rtol=0)
    assert all(torch.equal(value, before[key]) for key, value in trunk.named_buffers())
    assert list(trunk.parameters()) == []
    assert trunk.state_dict() == {}


def test_copies_share_the_weights(loaded):
    trunk = loaded("resnet18")
    assert copy.deepcopy(torch.nn.Sequential(trunk))[0] is trunk
