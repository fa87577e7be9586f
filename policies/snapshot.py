"""One version of a policy as bytes: safetensors with JSON metadata, loaded completely or refused.

The frozen part of a pretrained encoder is not in it: a version names it by the sha256 of its file, which is sent once.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from policies.errors import NotFiniteError, SnapshotError
from policies.policy import Policy
from policies.pretrained import frozen_bytes, frozen_loaded, load_frozen
from policies.resnet import EncoderFileError
from policies.spec import PolicySpec, PolicySpecError, build_policy, spec_differences

__all__ = [
    "NotFiniteError",
    "Snapshot",
    "SnapshotError",
    "check_finite",
    "frozen_bytes",
    "load_in_parts",
    "load_snapshot",
    "load_tensors",
    "name_differences",
    "read_snapshot",
    "save_snapshot",
]

FORMAT = "tandem.policy.v1"
PART_BYTES = 1 << 20
_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "I64": torch.int64, "BOOL": torch.bool}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot says before any network is built.

    Attributes:
        spec: The network.
        version: Policy version.
        meta: Free JSON values, such as the run and where the weights came from.
        tensors: Every parameter and buffer by name, float32, but for those of a frozen part.
    """

    spec: PolicySpec
    version: int
    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def frozen_sha256(self) -> str:
        """Of the file of its frozen part (``frozen_bytes``), without which it cannot act; empty where it has none."""
        return self.spec.encoder_sha256


def save_snapshot(policy: Policy, version: int, meta: Mapping[str, Any] | None = None, dtype: str = "float32") -> bytes:
    """The policy as bytes; ``dtype`` (``float32`` or ``bfloat16``) is that of its parameters, not of its buffers.

    Raises NotFiniteError, rather than save what nobody could act with.
    """
    if dtype not in _DTYPES:
        raise SnapshotError(f"dtype must be one of {sorted(_DTYPES)}. Got: {dtype!r}")
    parameters = {name for name, _ in policy.named_parameters()}
    tensors = {
        name: value.detach().to("cpu", _DTYPES[dtype] if name in parameters else value.dtype).contiguous()
        for name, value in policy.state_dict().items()
    }
    check_finite("the policy", tensors)
    header = {
        "format": FORMAT,
        "version": str(version),
        "spec": json.dumps(asdict(policy.spec)),
        "meta": json.dumps(dict(meta or {})),
        "sha256": _digest(tensors),
    }
    return save(tensors, metadata=header)


def read_snapshot(data: bytes | memoryview) -> Snapshot:
    """What a snapshot holds. Raises SnapshotError where it is cut short, changed, of another format or not finite."""
    header, snapshot = _header(data), _read(data, lambda: load(bytes(data)))
    if _digest(snapshot.tensors) != header.get("sha256"):
        raise SnapshotError("the policy snapshot is damaged: its tensors do not match the sha256 in its header")
    check_finite("the policy snapshot", snapshot.tensors)
    tensors = {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in snapshot.tensors.items()}
    return replace(snapshot, tensors=tensors)


def _read(data: bytes | memoryview, tensors_of: Callable[[], dict[str, Tensor]]) -> Snapshot:
    """Its tensors as they are stored, neither compared with their digest nor known to be finite."""
    header = _header(data)
    if header.get("format") != FORMAT:
        raise SnapshotError(f"a policy snapshot must have format {FORMAT!r}. Got: {header.get('format')!r}")
    try:
        tensors = tensors_of()
        settings: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(header["spec"]).items()
        }
        spec = PolicySpec(**_known(settings))
        return Snapshot(spec, int(header["version"]), json.loads(header["meta"]), tensors)
    except (SafetensorError, PolicySpecError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise SnapshotError(f"the policy snapshot cannot be read: {error}") from error


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings``. Raises SnapshotError where they are of a newer Tandem."""
    if unknown := sorted(set(settings) - {field.name for field in fields(PolicySpec)}):
        raise SnapshotError(
            f"it has settings that this version of Tandem does not know: {', '.join(unknown)}. It was made by a "
            "newer one: update Tandem here"
        )
    return settings


def load_snapshot(data: bytes, frozen: bytes | None = None) -> tuple[PolicySpec, int, Policy]:
    """Spec, version and a newly built policy.

    Args:
        data: Of ``save_snapshot``.
        frozen: The file of its frozen part (``frozen_bytes``), where it has one.

    Raises:
        SnapshotError: naming what is missing, unexpected or misshapen, the frozen part included.
    """
    snapshot = read_snapshot(data)
    policy = _built(snapshot)
    if snapshot.frozen_sha256:
        if not frozen:
            raise SnapshotError(_lacks_frozen(snapshot))
        try:
            load_frozen(policy, frozen)
        except EncoderFileError as error:
            raise SnapshotError(f"the frozen part of the policy cannot be loaded: {error}") from error
    load_tensors(policy, snapshot.tensors)
    return snapshot.spec, snapshot.version, policy


def load_in_parts(policy: Policy, data: bytes | memoryview) -> Generator[None, None, int]:
    """Loads a snapshot into a policy built from the same spec, and returns its version.

    Between its parts, of some ``PART_BYTES`` each, something else may be done, but the policy may not act. Somebody has
    compared the bytes with a checksum already: their own is not computed.

    Raises:
        SnapshotError: with the policy left as it was, where the spec differs, anything is missing or not finite, or the
            policy's frozen part was never loaded.
    """
    snapshot = _read(data, lambda: _views(data))
    if found := spec_differences(policy.spec, snapshot.spec):
        raise SnapshotError("the snapshot is of another policy: " + "; ".join(found))
    if not frozen_loaded(policy):
        raise SnapshotError(_lacks_frozen(snapshot))
    own, kinds = policy.state_dict(), {torch.bfloat16: torch.float32}
    _check_names(own, {k: v.to("meta", kinds.get(v.dtype, v.dtype)) for k, v in snapshot.tensors.items()})
    done = 0
    for copied in (False, True):
        for name, value in own.items():
            for target, source in zip(_parts(value), _parts(snapshot.tensors[name]), strict=True):
                if copied:
                    target.copy_(source)
                else:
                    check_finite("the policy snapshot", {name: source})
                done += target.nbytes
                if done > PART_BYTES:
                    done = 0
                    yield
    return snapshot.version


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """Views of as many of its rows as float32 numbers in PART_BYTES are."""
    if not tensor.numel():
        return iter(())
    rows = tensor if tensor.ndim else tensor.unsqueeze(0)
    return iter(rows.split(max(1, PART_BYTES // (4 * rows[0].numel()))))


def load_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies tensors into a module, all of them or none. Raises SnapshotError naming every difference."""
    own = module.state_dict()
    _check_names(own, tensors)
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])


def _check_names(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    if faults := name_differences({k: (tuple(v.shape), v.dtype) for k, v in own.items()}, tensors):
        raise SnapshotError("nothing was loaded: " + "; ".join(faults))


def check_finite(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises NotFiniteError naming the tensors that hold NaN or an infinity."""
    if found := non_finite(tensors):
        raise NotFiniteError(f"{what} is not finite: NaN or infinity in {', '.join(map(repr, found[:3]))}")


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or an infinity."""
    return [
        name
        for name, value in tensors.items()
        # A sum is quick, and finite only where all of it is; one of finite numbers may still overflow.
        if value.is_floating_point() and not value.sum().isfinite() and not value.isfinite().all()
    ]


def name_differences(
    expected: Mapping[str, tuple[tuple[int, ...], torch.dtype]], actual: Mapping[str, Tensor]
) -> list[str]:
    """One line per tensor that is missing, unexpected, or of another shape or dtype."""
    faults = [f"{name!r} is missing" for name in expected if name not in actual]
    faults += [f"{name!r} is unexpected" for name in actual if name not in expected]
    for name, (shape, dtype) in expected.items():
        if name in actual and (tuple(actual[name].shape), actual[name].dtype) != (shape, dtype):
            faults.append(
                f"{name!r} must be {dtype} of shape {shape}. Got: {actual[name].dtype} {tuple(actual[name].shape)}"
            )
    return faults


def _built(snapshot: Snapshot) -> Policy:
    """Its policy, of the size of its tensors: a few bytes of spec may describe more than any memory holds."""
    try:
        with torch.device("meta"):
            own = build_policy(snapshot.spec).state_dict()
    except (RuntimeError, ValueError, OverflowError) as error:
        raise SnapshotError(f"the policy snapshot describes no network that can be built: {error}") from error
    _check_names(own, snapshot.tensors)
    return build_policy(snapshot.spec)


def _lacks_frozen(snapshot: Snapshot) -> str:
    return (
        f"version {snapshot.version} of the policy needs the frozen weights of encoder {snapshot.spec.encoder!r} with "
        f"sha256 {snapshot.frozen_sha256}, which were not loaded"
    )


def _views(data: bytes | memoryview) -> dict[str, Tensor]:
    """The tensors of safetensors, where they lie. Raises ValueError or KeyError where the header does not fit."""
    writable = bytearray(data) if isinstance(data, bytes) else data
    (size,) = struct.unpack_from("<Q", data)
    found = {}
    for name, entry in json.loads(bytes(data[8 : 8 + size])).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            raw = torch.frombuffer(writable, dtype=torch.uint8, count=end - begin, offset=8 + size + begin)
            found[name] = raw.view(_STORED[entry["dtype"]]).reshape(entry["shape"])
    return found


def _header(data: bytes | memoryview) -> dict[str, str]:
    try:
        (size,) = struct.unpack_from("<Q", data)
        if size > len(data):
            raise SnapshotError(f"the policy snapshot is cut short: its header needs {size} bytes. Got: {len(data)}")
        return dict(json.loads(bytes(data[8 : 8 + size])).get("__metadata__", {}))
    except (struct.error, ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"these {len(data)} bytes are no policy snapshot: {error}") from error


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(torch.uint8).numpy() if tensors[name].ndim else b"")
        if not tensors[name].ndim:
            digest.update(tensors[name].reshape(1).view(torch.uint8).numpy())
    return digest.hexdigest()
