import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save

from policies.encoder_kinds import ENCODERS
from policies.resnet import FrozenResNet, file_name
from policies.spec import PolicySpec


@pytest.fixture
def image_spec():
    """A policy over a vector ``s`` and images ``c0``, ``c1``, ... of these sizes."""

    def build(encoder, cameras=((64, 64), (64, 64)), image_stacks=None, **changes):
        heights, widths = zip(*cameras, strict=True)
        fields = {
            "inputs": ("s",),
            "stacks": (1,),
            "sizes": (5,),
            "images": tuple(f"c{i}" for i in range(len(cameras))),
            "image_stacks": image_stacks or (1,) * len(cameras),
            "image_heights": heights,
            "image_widths": widths,
            "encoder": encoder,
            "encoder_size": ENCODERS[encoder].feature_size(heights, widths),
            "action_size": 3,
            "hidden": (32, 32),
        }
        return PolicySpec(**(fields | changes))

    return build


@pytest.fixture
def observe():
    """Random inputs and images of a spec; ``batch`` None for one observation without a batch dimension."""

    def build(spec, batch=None, seed=0):
        rng = np.random.default_rng(seed)
        shape = () if batch is None else (batch,)
        vectors = zip(spec.inputs, spec.sizes, strict=True)
        seen = {name: rng.standard_normal((*shape, size)).astype(np.float32) for name, size in vectors}
        images = spec.image_shapes.items()
        return seen | {name: rng.integers(0, 256, (*shape, *size), dtype=np.uint8) for name, size in images}

    return build


@pytest.fixture
def tensors(observe):
    """The same as a batch of tensors."""

    def build(spec, batch=2, seed=0):
        return {name: torch.from_numpy(value) for name, value in observe(spec, batch, seed).items()}

    return build


@pytest.fixture
def random_weights():
    """Tensors of a weights file of an encoder by the published names, with activations that neither grow nor vanish."""

    def build(encoder, seed=0):
        generator = torch.Generator().manual_seed(seed)
        found = {}
        for name, value in FrozenResNet(encoder, "").named_buffers():
            random = torch.randn(value.shape, generator=generator)
            if value.ndim == 4:
                random *= (2 / value[0].numel()) ** 0.5
            elif name.endswith(("weight", "running_var")):
                random = 1 + 0.3 * random.abs()
            else:
                random *= 0.2
            found[file_name(encoder, name)] = random
        return found

    return build


@pytest.fixture
def weights_file(random_weights):
    """(bytes, sha256) of such a file, after ``change`` of its tensors."""

    def build(encoder, seed=0, change=None):
        found = random_weights(encoder, seed)
        if change is not None:
            change(found)
        data = save(found)
        return data, hashlib.sha256(data).hexdigest()

    return build
