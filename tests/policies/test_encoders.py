import copy
import io

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from policies.encoders import ImageError, build_encoder
from policies.pretrained import load_frozen


def built(spec, seed=0):
    torch.manual_seed(seed)
    return build_encoder(spec)


def float64(encoder):
    return {name: value.double() for name, value in encoder.state_dict().items()}


def convolved(weights, prefix, images, layers):
    """An independent reference: pixels (B, H, W, C) through convolutions with ReLU, in float64 and channels first."""
    x = images.double().permute(0, 3, 1, 2).contiguous() / 255 - 0.5
    for index, (stride, padding) in enumerate(layers):
        weight, bias = (weights[f"{prefix}.{2 * index}.{part}"] for part in ("weight", "bias"))
        x = F.conv2d(x, weight, bias, stride, padding).clamp(min=0)
    return x


def head(weights, prefix, x):
    x = x @ weights[f"{prefix}linear.weight"].T + weights[f"{prefix}linear.bias"]
    centred = x - x.mean(-1, keepdim=True)
    x = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return torch.tanh(x * weights[f"{prefix}norm.weight"] + weights[f"{prefix}norm.bias"])


def rows_first(maps):
    """(B, C, H, W) to (B, H * W * C)."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1)


def close(actual, expected):
    torch.testing.assert_close(actual.double(), expected, atol=1e-5, rtol=1e-5)


def test_small_is_what_it_says(image_spec, tensors):
    spec = image_spec("small", image_stacks=(1, 2))
    encoder, seen = built(spec), tensors(spec)
    weights = float64(encoder)
    maps = convolved(weights, "stacks.0", torch.cat([seen["c0"], seen["c1"]], -1), [(4, 0), (2, 1), (2, 1)])
    features = encoder(seen)
    assert features.shape == (2, 64)
    assert features.dtype == torch.float32
    close(features, head(weights, "", rows_first(maps)))


def test_small_has_convolutions_for_each_size_of_camera(image_spec, tensors):
    spec = image_spec("small", ((64, 64), (48, 80), (64, 64)))
    encoder, seen = built(spec), tensors(spec)
    weights, layers = float64(encoder), [(4, 0), (2, 1), (2, 1)]
    joined = convolved(weights, "stacks.0", torch.cat([seen["c0"], seen["c2"]], -1), layers)
    alone = convolved(weights, "stacks.1", seen["c1"], layers)
    close(encoder(seen), head(weights, "", torch.cat((rows_first(joined), rows_first(alone)), -1)))


def test_keypoints_is_what_it_says(image_spec, tensors):
    spec = image_spec("keypoints", ((64, 64), (48, 80)), image_stacks=(1, 2))
    encoder, seen = built(spec), tensors(spec)
    with torch.no_grad():
        encoder.sharpness.mul_(torch.rand(encoder.sharpness.shape))
    weights, places = float64(encoder), []
    for camera, name in enumerate(("c0", "c1")):
        maps = convolved(weights, f"stacks.{camera}", seen[name], [(4, 0), (2, 1)])
        maps = F.conv2d(maps, *(weights[f"stacks.{camera}.4.{part}"] for part in ("weight", "bias")), padding=1)
        centred = maps - maps.mean((2, 3), keepdim=True)
        maps = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        shares = torch.exp(maps * weights["sharpness"][camera].unsqueeze(-1))
        shares = shares / shares.sum((2, 3), keepdim=True)
        rows, columns = (torch.linspace(-3, 3, n, dtype=torch.float64) for n in shares.shape[2:])
        places.append(torch.stack((shares.sum(3) @ rows, shares.sum(2) @ columns), -1).flatten(1))
    features = encoder(seen)
    assert features.shape == (2, 128)
    close(features, torch.cat(places, -1))


def test_a_keypoint_follows_what_moves(image_spec):
    """A bright spot, found by its brightness, a cell further to the right: the keypoint as well."""
    spec = image_spec("keypoints", ((64, 64),))
    encoder = built(spec)
    with torch.no_grad():
        for layer in encoder.stacks[0]:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.zero_()
                layer.weight[:, :, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1.0
                layer.bias.zero_()
        encoder.stacks[0][0].bias.fill_(1.5)
    image = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    image[0, 16:24, 16:24], image[1, 16:24, 24:32] = 255, 255
    before, after = encoder({"c0": image}).view(2, -1, 2)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert (after[:, 1] - before[:, 1]).min() > 0.5


def test_drqv2_is_the_published_network(image_spec, tensors):
    spec = image_spec("drqv2", ((84, 84),), (3,))
    encoder, seen = built(spec), tensors(spec)
    weights = float64(encoder)
    assert [tuple(w.shape) for n, w in weights.items() if n.endswith("weight")] == [
        (32, 9, 3, 3),
        *3 * [(32, 32, 3, 3)],
    ]
    features = encoder(seen)
    assert features.shape == (2, 32 * 35 * 35)
    close(features, rows_first(convolved(weights, "stacks.0", seen["c0"], [(2, 0), (1, 0), (1, 0), (1, 0)])))


def test_drqv2_starts_from_orthogonal_weights_with_the_gain_of_a_relu(image_spec):
    weights = float64(built(image_spec("drqv2", ((84, 84),), (3,))))
    for layer in (0, 2, 4, 6):
        rows = weights[f"stacks.0.{layer}.weight"].flatten(1)
        torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(32, dtype=torch.float64), atol=1e-5, rtol=0)
        assert not weights[f"stacks.0.{layer}.bias"].any()


def test_lerobot_is_what_it_says(image_spec, tensors):
    spec = image_spec("lerobot", ((96, 128), (96, 128)))
    encoder, seen = built(spec), tensors(spec)
    weights, parts = float64(encoder), []
    for index, name in enumerate(spec.images):
        maps = convolved(weights, "convolutions", seen[name], [(2, 0)] * 4).flatten(2)
        sums = torch.einsum("bcp,cpf->bcf", maps, weights[f"embeddings.{index}.weight"]).flatten(1)
        parts.append(head(weights, f"embeddings.{index}.", sums))
    features = encoder(seen)
    assert features.shape == (2, 512)
    close(features, torch.cat(parts, -1))


def test_lerobot_is_the_network_of_lerobot(image_spec, tensors):
    pytest.importorskip("lerobot")
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
    from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorObservationEncoder

    spec = image_spec("lerobot", ((128, 128), (128, 128)), inputs=(), stacks=(), sizes=())
    encoder, seen = built(spec), tensors(spec)
    names = [f"observation.images.{name}" for name in spec.images]
    features = {name: PolicyFeature(FeatureType.VISUAL, (3, 128, 128)) for name in names}
    config = GaussianActorConfig(input_features=features, output_features={}, device="cpu")
    peer = GaussianActorObservationEncoder(config).eval()
    assert sum(p.numel() for p in peer.parameters()) == sum(p.numel() for p in encoder.parameters())
    renamed = {f"image_encoder.image_enc_layers.{k}": v for k, v in encoder.convolutions.state_dict().items()}
    for name, embedding in zip(names, encoder.embeddings, strict=True):
        key = name.replace(".", "_")
        renamed[f"spatial_embeddings.{key}.kernel"] = embedding.weight.unflatten(1, (6, 6))
        for index, layer in ((1, embedding.linear), (2, embedding.norm)):
            renamed |= {f"post_encoders.{key}.{index}.{k}": v for k, v in layer.state_dict().items()}
    peer.load_state_dict(renamed)
    pixels = {long: seen[short].permute(0, 3, 1, 2) / 255 - 0.5 for long, short in zip(names, spec.images, strict=True)}
    torch.testing.assert_close(encoder(seen), peer(pixels), atol=1e-5, rtol=1e-5)


def test_a_pretrained_encoder_trains_its_head_alone(image_spec, tensors, weights_file):
    data, sha256 = weights_file("resnet18")
    spec = image_spec("resnet18", ((64, 64), (64, 96)), (1, 2), encoder_sha256=sha256)
    encoder, seen = built(spec), tensors(spec)
    load_frozen(encoder, data)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    weights, parts = float64(encoder), []
    for index, name in enumerate(spec.images):
        frames = [((f / 255 - mean) / std).permute(0, 3, 1, 2) for f in seen[name].split(3, -1)]
        maps = torch.cat([encoder.trunk(frame) for frame in frames], 1).flatten(2).double()
        sums = torch.einsum("bcp,cpf->bcf", maps, weights[f"embeddings.{index}.weight"]).flatten(1)
        parts.append(head(weights, f"embeddings.{index}.", sums))
    features = encoder(seen)
    torch.testing.assert_close(features.double(), torch.cat(parts, -1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(encoder.embed(encoder.maps(seen)), features)
    assert all(name.startswith("embeddings.") for name in encoder.state_dict())
    gradients = torch.autograd.grad(features.square().sum(), list(encoder.parameters()))
    assert all(g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("name", ["small", "keypoints", "lerobot", "drqv2"])
def test_every_weight_is_trained(name, image_spec, tensors):
    spec = image_spec(name)
    encoder = built(spec)
    features = encoder(tensors(spec, 4))
    mixed = (features * torch.randn(features.shape, generator=torch.Generator().manual_seed(1))).sum()
    gradients = torch.autograd.grad(mixed, list(encoder.parameters()))
    assert all(g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("name", ["small", "keypoints", "lerobot", "drqv2"])
def test_can_be_compiled_whole(name, image_spec, tensors):
    spec = image_spec(name)
    encoder, seen = built(spec), tensors(spec)
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(seen), encoder(seen), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["small", "keypoints", "lerobot", "drqv2"])
def test_every_camera_and_every_frame_of_a_stack_counts(name, image_spec, tensors):
    spec = image_spec(name, image_stacks=(2, 2))
    encoder, seen = built(spec), tensors(spec)
    before = encoder(seen)
    for image in spec.images:
        for frame in (slice(0, 3), slice(3, 6)):
            changed = copy.deepcopy(seen)
            changed[image][..., frame] = 255 - changed[image][..., frame]
            assert (encoder(changed) - before).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["small", "keypoints", "lerobot", "drqv2"])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x / 255, r"uint8 of shape \(B, 64, 64, 3\), with pixels from 0 to 255. Got: torch.float32 \(2, 64"),
        (lambda x: x.float(), r"Got: torch.float32 \(2, 64, 64, 3\)"),
        (lambda x: x[:, :32], r"Got: torch.uint8 \(2, 32, 64, 3\)"),
        (lambda x: x.permute(0, 3, 1, 2), r"Got: torch.uint8 \(2, 3, 64, 64\)"),
    ],
)
def test_images_of_another_scale_or_size_are_refused(name, change, text, image_spec, tensors):
    spec = image_spec(name)
    encoder, seen = built(spec), tensors(spec)
    seen["c1"] = change(seen["c1"])
    with pytest.raises(ImageError, match=f"image 'c1' must be .*{text}|{text}"):
        encoder(seen)


def test_a_frame_from_a_video_is_seen_as_the_online_one(image_spec, tensors):
    """Elsewhere demonstrations from video came as 0 to 255 in floats, and online images as 0 to 1."""
    av = pytest.importorskip("av")
    spec = image_spec("small", ((64, 64),))
    encoder, online = built(spec), tensors(spec)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr0"
        for image in online["c0"].numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert torch.equal(encoder({"c0": torch.from_numpy(decoded)}), encoder({"c0": online["c0"]}))
    with pytest.raises(ImageError, match="uint8"):
        encoder({"c0": torch.from_numpy(decoded).float() / 255})
