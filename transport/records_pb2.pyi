from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Purpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PURPOSE_UNSPECIFIED: _ClassVar[Purpose]
    PURPOSE_TRAINING: _ClassVar[Purpose]
    PURPOSE_EVALUATION: _ClassVar[Purpose]
    PURPOSE_DEMONSTRATION: _ClassVar[Purpose]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_SUCCESS: _ClassVar[Outcome]
    OUTCOME_FAILURE: _ClassVar[Outcome]
    OUTCOME_TIMEOUT: _ClassVar[Outcome]
    OUTCOME_DISCARDED: _ClassVar[Outcome]
    OUTCOME_CUT: _ClassVar[Outcome]

class HeldReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HELD_NO: _ClassVar[HeldReason]
    HELD_NAN_OBSERVATION: _ClassVar[HeldReason]
    HELD_NAN_ACTION: _ClassVar[HeldReason]
    HELD_STALE_OBSERVATION: _ClassVar[HeldReason]
    HELD_LOST_DEVICE: _ClassVar[HeldReason]
    HELD_NO_POLICY: _ClassVar[HeldReason]
    HELD_WATCHDOG: _ClassVar[HeldReason]
    HELD_LOST_CAMERA: _ClassVar[HeldReason]
PURPOSE_UNSPECIFIED: Purpose
PURPOSE_TRAINING: Purpose
PURPOSE_EVALUATION: Purpose
PURPOSE_DEMONSTRATION: Purpose
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_SUCCESS: Outcome
OUTCOME_FAILURE: Outcome
OUTCOME_TIMEOUT: Outcome
OUTCOME_DISCARDED: Outcome
OUTCOME_CUT: Outcome
HELD_NO: HeldReason
HELD_NAN_OBSERVATION: HeldReason
HELD_NAN_ACTION: HeldReason
HELD_STALE_OBSERVATION: HeldReason
HELD_LOST_DEVICE: HeldReason
HELD_NO_POLICY: HeldReason
HELD_WATCHDOG: HeldReason
HELD_LOST_CAMERA: HeldReason

class Feature(_message.Message):
    __slots__ = ("name", "dtype", "shape", "components", "units", "low", "high")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    components: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    low: _containers.RepeatedScalarFieldContainer[float]
    high: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., components: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., low: _Optional[_Iterable[float]] = ..., high: _Optional[_Iterable[float]] = ...) -> None: ...

class RewardBounds(_message.Message):
    __slots__ = ("bounded", "low", "high", "only_at_end")
    BOUNDED_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    ONLY_AT_END_FIELD_NUMBER: _ClassVar[int]
    bounded: bool
    low: float
    high: float
    only_at_end: bool
    def __init__(self, bounded: _Optional[bool] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., only_at_end: _Optional[bool] = ...) -> None: ...

class Interface(_message.Message):
    __slots__ = ("task", "observations", "action", "action_meaning", "gripper_sign", "control_hz", "reward")
    TASK_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_MEANING_FIELD_NUMBER: _ClassVar[int]
    GRIPPER_SIGN_FIELD_NUMBER: _ClassVar[int]
    CONTROL_HZ_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    task: str
    observations: _containers.RepeatedCompositeFieldContainer[Feature]
    action: Feature
    action_meaning: str
    gripper_sign: str
    control_hz: float
    reward: RewardBounds
    def __init__(self, task: _Optional[str] = ..., observations: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., action: _Optional[_Union[Feature, _Mapping]] = ..., action_meaning: _Optional[str] = ..., gripper_sign: _Optional[str] = ..., control_hz: _Optional[float] = ..., reward: _Optional[_Union[RewardBounds, _Mapping]] = ...) -> None: ...

class FeatureView(_message.Message):
    __slots__ = ("name", "crop", "resize", "stack")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    name: str
    crop: _containers.RepeatedScalarFieldContainer[int]
    resize: _containers.RepeatedScalarFieldContainer[int]
    stack: int
    def __init__(self, name: _Optional[str] = ..., crop: _Optional[_Iterable[int]] = ..., resize: _Optional[_Iterable[int]] = ..., stack: _Optional[int] = ...) -> None: ...

class View(_message.Message):
    __slots__ = ("features",)
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[FeatureView]
    def __init__(self, features: _Optional[_Iterable[_Union[FeatureView, _Mapping]]] = ...) -> None: ...

class Contract(_message.Message):
    __slots__ = ("interface", "view")
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    interface: Interface
    view: View
    def __init__(self, interface: _Optional[_Union[Interface, _Mapping]] = ..., view: _Optional[_Union[View, _Mapping]] = ...) -> None: ...

class EpisodeStart(_message.Message):
    __slots__ = ("episode_id", "purpose", "start_seed", "observation", "time_ns", "evaluation_id", "policy_version")
    EPISODE_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    START_SEED_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    episode_id: str
    purpose: Purpose
    start_seed: int
    observation: _containers.RepeatedScalarFieldContainer[bytes]
    time_ns: int
    evaluation_id: int
    policy_version: int
    def __init__(self, episode_id: _Optional[str] = ..., purpose: _Optional[_Union[Purpose, str]] = ..., start_seed: _Optional[int] = ..., observation: _Optional[_Iterable[bytes]] = ..., time_ns: _Optional[int] = ..., evaluation_id: _Optional[int] = ..., policy_version: _Optional[int] = ...) -> None: ...

class Reward(_message.Message):
    __slots__ = ("source", "value")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    source: str
    value: float
    def __init__(self, source: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("episode_id", "index", "proposed", "chosen", "sent", "observation", "rewards", "terminated", "truncated", "human", "held", "interrupted", "policy_version", "time_ns", "period_error_ms")
    EPISODE_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    REWARDS_FIELD_NUMBER: _ClassVar[int]
    TERMINATED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    HUMAN_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    PERIOD_ERROR_MS_FIELD_NUMBER: _ClassVar[int]
    episode_id: str
    index: int
    proposed: _containers.RepeatedScalarFieldContainer[float]
    chosen: _containers.RepeatedScalarFieldContainer[float]
    sent: _containers.RepeatedScalarFieldContainer[float]
    observation: _containers.RepeatedScalarFieldContainer[bytes]
    rewards: _containers.RepeatedCompositeFieldContainer[Reward]
    terminated: bool
    truncated: bool
    human: bool
    held: HeldReason
    interrupted: bool
    policy_version: int
    time_ns: int
    period_error_ms: float
    def __init__(self, episode_id: _Optional[str] = ..., index: _Optional[int] = ..., proposed: _Optional[_Iterable[float]] = ..., chosen: _Optional[_Iterable[float]] = ..., sent: _Optional[_Iterable[float]] = ..., observation: _Optional[_Iterable[bytes]] = ..., rewards: _Optional[_Iterable[_Union[Reward, _Mapping]]] = ..., terminated: _Optional[bool] = ..., truncated: _Optional[bool] = ..., human: _Optional[bool] = ..., held: _Optional[_Union[HeldReason, str]] = ..., interrupted: _Optional[bool] = ..., policy_version: _Optional[int] = ..., time_ns: _Optional[int] = ..., period_error_ms: _Optional[float] = ...) -> None: ...

class EpisodeEnd(_message.Message):
    __slots__ = ("episode_id", "outcome", "author", "steps", "time_ns", "label")
    EPISODE_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    episode_id: str
    outcome: Outcome
    author: str
    steps: int
    time_ns: int
    label: str
    def __init__(self, episode_id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., author: _Optional[str] = ..., steps: _Optional[int] = ..., time_ns: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...

class Amendment(_message.Message):
    __slots__ = ("episode_id", "author", "time_ns", "outcome", "step")
    EPISODE_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    episode_id: str
    author: str
    time_ns: int
    outcome: Outcome
    step: int
    def __init__(self, episode_id: _Optional[str] = ..., author: _Optional[str] = ..., time_ns: _Optional[int] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., step: _Optional[int] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("sequence", "start", "step", "end", "amendment")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    AMENDMENT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    start: EpisodeStart
    step: Step
    end: EpisodeEnd
    amendment: Amendment
    def __init__(self, sequence: _Optional[int] = ..., start: _Optional[_Union[EpisodeStart, _Mapping]] = ..., step: _Optional[_Union[Step, _Mapping]] = ..., end: _Optional[_Union[EpisodeEnd, _Mapping]] = ..., amendment: _Optional[_Union[Amendment, _Mapping]] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("spool_id", "actor", "record")
    SPOOL_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    spool_id: str
    actor: str
    record: Record
    def __init__(self, spool_id: _Optional[str] = ..., actor: _Optional[str] = ..., record: _Optional[_Union[Record, _Mapping]] = ...) -> None: ...
