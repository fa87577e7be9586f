import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from policies.pretrained import frozen_bytes, load_frozen
from policies.snapshot import (
    FORMAT,
    NotFiniteError,
    SnapshotError,
    _digest,
    load_in_parts,
    load_snapshot,
    load_tensors,
    read_snapshot,
    save_snapshot,
)
from policies.spec import PolicySpec, build_policy

SPEC = PolicySpec(inputs=("s",), stacks=(1,), sizes=(4,), action_size=2, hidden=(16, 16))


@pytest.fixture
def policy():
    torch.manual_seed(3)
    policy = build_policy(SPEC)
    policy.freeze_statistics({"s": (np.arange(4.0), np.full(4, 3.0))}, 0.01)
    return policy


def same(left, right):
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_snapshot_brings_back_spec_version_normalisation_and_weights(policy):
    data = save_snapshot(policy, 17, {"run": "abc"})
    spec, version, loaded = load_snapshot(data)
    assert (spec, version) == (SPEC, 17)
    assert same(policy, loaded)
    assert read_snapshot(data).meta == {"run": "abc"}


def load_weights(policy, data):
    """All parts at once; the version."""
    parts = load_in_parts(policy, data)
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


def test_weights_go_into_an_existing_policy(policy):
    other = build_policy(SPEC)
    assert load_weights(other, save_snapshot(policy, 5)) == 5
    assert same(policy, other)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_large_policy_is_loaded_in_parts_and_is_the_same_in_the_end(dtype):
    spec = dataclasses.replace(SPEC, hidden=(1000, 1500))
    torch.manual_seed(1)
    policy, whole, parted = (build_policy(spec) for _ in range(3))
    data = save_snapshot(policy, 7, dtype=dtype)
    assert 5 < sum(1 for _ in load_in_parts(parted, data)) < 15
    load_tensors(whole, read_snapshot(data).tensors)
    assert same(whole, parted)


def test_bfloat16_halves_the_bytes_and_acts_alike(policy):
    full, half = save_snapshot(policy, 1), save_snapshot(policy, 1, dtype="bfloat16")
    assert len(half) < len(full)
    loaded = load_snapshot(half)[2]
    assert torch.equal(loaded.normalizer.mean, policy.normalizer.mean)
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = {"s": rng.standard_normal(4).astype(np.float32)}
        difference = policy.act(seen, deterministic=True) - loaded.act(seen, deterministic=True)
        assert np.abs(difference).max() < 0.01


def test_another_spec_is_refused(policy):
    other = build_policy(dataclasses.replace(SPEC, hidden=(8,)))
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(SnapshotError, match=r"of another policy: hidden: expected \(8,\), got"):
        load_weights(other, save_snapshot(policy, 1))
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


def rewritten(data, change):
    """The snapshot with other tensors and a digest that fits them: only names and shapes can give it away."""
    (size,) = struct.unpack_from("<Q", data)
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    tensors = load(data)
    change(tensors)
    return save(tensors, metadata={**metadata, "sha256": _digest(tensors)})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("head.weight"), "'head.weight' is missing"),
        (lambda t: t.update(extra=torch.zeros(2)), "'extra' is unexpected"),
        (
            lambda t: t.update({"head.bias": torch.zeros(3)}),
            r"'head.bias' must be torch.float32 of shape \(4,\). Got: torch.float32 \(3,\)",
        ),
    ],
)
def test_incomplete_snapshots_are_refused_with_nothing_loaded(policy, change, text):
    data = rewritten(save_snapshot(policy, 1), change)
    other = build_policy(SPEC)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(SnapshotError, match=text):
        load_weights(other, data)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


def test_a_flipped_bit_is_found(policy):
    data = bytearray(save_snapshot(policy, 1))
    data[-5] ^= 1
    with pytest.raises(SnapshotError, match="damaged"):
        load_snapshot(bytes(data))


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_truncated_bytes_are_refused(policy, cut):
    with pytest.raises(SnapshotError):
        load_snapshot(save_snapshot(policy, 1)[:cut])


@pytest.mark.parametrize("header", [b'{"__metadata__": 5}', b"[1]", b"[" * 100_000], ids=["number", "list", "nested"])
def test_a_header_of_another_shape_is_refused_by_name(header):
    with pytest.raises(SnapshotError, match="are no policy snapshot"):
        read_snapshot(struct.pack("<Q", len(header)) + header)


@pytest.mark.parametrize("spec", ["[1]", "7", "[" * 100_000], ids=["list", "number", "nested"])
def test_a_spec_of_another_shape_is_refused_by_name(spec):
    metadata = {"format": FORMAT, "spec": spec, "version": "1", "meta": "{}"}
    with pytest.raises(SnapshotError):
        read_snapshot(save({"x": torch.zeros(1)}, metadata))


def test_a_policy_of_a_newer_version_is_refused_by_the_settings_it_has(policy):
    data = save_snapshot(policy, 1)
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    spec = {**json.loads(metadata["spec"]), "wings": 2}
    newer = save(load(data), metadata={**metadata, "spec": json.dumps(spec)})
    with pytest.raises(SnapshotError, match=r"this version of Tandem does not know: wings\..* update Tandem here"):
        read_snapshot(newer)


def test_foreign_safetensors_are_refused():
    with pytest.raises(SnapshotError, match=r"must have format 'tandem\.policy\.v1'\. Got: None"):
        load_snapshot(save({"x": torch.zeros(1)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(policy, value):
    data = rewritten(save_snapshot(policy, 1), lambda t: t["head.bias"].fill_(value))
    other = build_policy(SPEC)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    for load_into in (load_snapshot, read_snapshot, lambda data: load_weights(other, data)):
        with pytest.raises(NotFiniteError, match=r"the policy snapshot is not finite: NaN or infinity in 'head\.bias'"):
            load_into(data)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    with torch.no_grad():
        policy.head.bias[0] = value
    with pytest.raises(NotFiniteError, match="the policy is not finite"):
        save_snapshot(policy, 1)


@pytest.fixture
def frozen_policy(image_spec, weights_file):
    """(policy, file) with a frozen encoder, loaded."""

    def build(seed=0):
        data, sha256 = weights_file("resnet10", seed)
        policy = build_policy(image_spec("resnet10", encoder_size=32, encoder_sha256=sha256))
        load_frozen(policy, data)
        return policy, data

    return build


def test_the_frozen_part_is_in_no_version_and_named_by_its_hash(frozen_policy, observe):
    policy, file = frozen_policy()
    data = save_snapshot(policy, 3)
    snapshot = read_snapshot(data)
    assert snapshot.frozen_sha256 == hashlib.sha256(file).hexdigest()
    assert frozen_bytes(policy) == file
    assert not any("trunk" in name for name in snapshot.tensors)
    assert len(data) < len(file) / 20
    _, version, loaded = load_snapshot(data, file)
    seen = observe(policy.spec)
    assert version == 3
    np.testing.assert_array_equal(loaded.act(seen, deterministic=True), policy.act(seen, deterministic=True))


def test_a_version_is_refused_where_its_frozen_part_is_not_there(frozen_policy):
    policy, file = frozen_policy()
    other = frozen_policy(1)[1]
    data = save_snapshot(policy, 3)
    missing = f"version 3 .* needs the frozen weights of encoder 'resnet10' with sha256 {policy.spec.encoder_sha256}"
    for load_into in (load_snapshot, lambda data: load_weights(build_policy(policy.spec), data)):
        with pytest.raises(SnapshotError, match=missing):
            load_into(data)
    with pytest.raises(SnapshotError, match=f"frozen part .* must have sha256 {policy.spec.encoder_sha256}. Got: "):
        load_snapshot(data, other)
    empty = build_policy(policy.spec)
    load_frozen(empty, file)
    assert load_weights(empty, data) == 3


def test_a_policy_without_frozen_part_has_no_frozen_bytes(policy):
    assert frozen_bytes(policy) == b""
    assert read_snapshot(save_snapshot(policy, 1)).frozen_sha256 == ""
    load_frozen(policy, b"")


@pytest.mark.parametrize("kind", ["gaussian", "deterministic"])
@pytest.mark.parametrize("encoder", ["small", "keypoints", "lerobot", "drqv2"])
def test_bfloat16_acts_alike_from_pixels(kind, encoder, image_spec, observe):
    """Parameters of 8 significant bits move an action by less than a hundredth of its range of 2."""
    torch.manual_seed(0)
    policy = build_policy(image_spec(encoder, kind=kind, hidden=(256, 256)))
    if kind == "deterministic":
        policy.std.fill_(0.1234567)
    loaded = load_snapshot(save_snapshot(policy, 1, dtype="bfloat16"))[2]
    assert same_buffers(policy, loaded)
    for seed in range(20):
        seen = observe(policy.spec, seed=seed)
        difference = policy.act(seen, deterministic=True) - loaded.act(seen, deterministic=True)
        assert 0 < np.abs(difference).max() < 0.02


def same_buffers(left, right):
    theirs = dict(right.named_buffers())
    return all(torch.equal(value, theirs[name]) for name, value in left.named_buffers())


def test_a_small_snapshot_of_a_vast_network_is_refused_before_it_is_built(policy):
    data = save_snapshot(policy, 1)
    (size,) = struct.unpack_from("<Q", data)
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    spec = {**json.loads(metadata["spec"]), "hidden": [200_000, 200_000]}
    vast = save(load(data), metadata={**metadata, "spec": json.dumps(spec)})
    with pytest.raises(SnapshotError, match=r"nothing was loaded: .*must be torch.float32 of shape \(200000,"):
        load_snapshot(vast)
