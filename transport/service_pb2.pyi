from transport import records_pb2 as _records_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Compression(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPRESSION_NONE: _ClassVar[Compression]
    COMPRESSION_ZLIB: _ClassVar[Compression]

class PolicyUse(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_USE_UNSPECIFIED: _ClassVar[PolicyUse]
    POLICY_USE_ACTING: _ClassVar[PolicyUse]
    POLICY_USE_EVALUATION: _ClassVar[PolicyUse]
    POLICY_USE_REWARD: _ClassVar[PolicyUse]
COMPRESSION_NONE: Compression
COMPRESSION_ZLIB: Compression
POLICY_USE_UNSPECIFIED: PolicyUse
POLICY_USE_ACTING: PolicyUse
POLICY_USE_EVALUATION: PolicyUse
POLICY_USE_REWARD: PolicyUse

class Numbers(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class Texts(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("key", "number", "integer", "flag", "text", "numbers", "texts")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    key: str
    number: float
    integer: int
    flag: bool
    text: str
    numbers: Numbers
    texts: Texts
    def __init__(self, key: _Optional[str] = ..., number: _Optional[float] = ..., integer: _Optional[int] = ..., flag: _Optional[bool] = ..., text: _Optional[str] = ..., numbers: _Optional[_Union[Numbers, _Mapping]] = ..., texts: _Optional[_Union[Texts, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("protocol",)
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    def __init__(self, protocol: _Optional[int] = ...) -> None: ...

class RunDescription(_message.Message):
    __slots__ = ("protocol", "run_id", "env", "env_settings", "contract", "interface_fingerprint", "view_fingerprint", "policy_spec", "acting")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    ENV_SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    POLICY_SPEC_FIELD_NUMBER: _ClassVar[int]
    ACTING_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    run_id: str
    env: str
    env_settings: _containers.RepeatedCompositeFieldContainer[Setting]
    contract: _records_pb2.Contract
    interface_fingerprint: str
    view_fingerprint: str
    policy_spec: _containers.RepeatedCompositeFieldContainer[Setting]
    acting: _containers.RepeatedCompositeFieldContainer[Setting]
    def __init__(self, protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., env: _Optional[str] = ..., env_settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., contract: _Optional[_Union[_records_pb2.Contract, _Mapping]] = ..., interface_fingerprint: _Optional[str] = ..., view_fingerprint: _Optional[str] = ..., policy_spec: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., acting: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("protocol", "run_id", "actor", "spool_id", "contract", "takeover", "deliver_only", "claim")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    SPOOL_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    TAKEOVER_FIELD_NUMBER: _ClassVar[int]
    DELIVER_ONLY_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    run_id: str
    actor: str
    spool_id: str
    contract: _records_pb2.Contract
    takeover: bool
    deliver_only: bool
    claim: int
    def __init__(self, protocol: _Optional[int] = ..., run_id: _Optional[str] = ..., actor: _Optional[str] = ..., spool_id: _Optional[str] = ..., contract: _Optional[_Union[_records_pb2.Contract, _Mapping]] = ..., takeover: _Optional[bool] = ..., deliver_only: _Optional[bool] = ..., claim: _Optional[int] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("acknowledged", "window_bytes", "max_message_bytes", "replaced", "claim")
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    acknowledged: int
    window_bytes: int
    max_message_bytes: int
    replaced: bool
    claim: int
    def __init__(self, acknowledged: _Optional[int] = ..., window_bytes: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., replaced: _Optional[bool] = ..., claim: _Optional[int] = ...) -> None: ...

class RecordBatch(_message.Message):
    __slots__ = ("run_id", "spool_id", "records", "compression")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPOOL_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    spool_id: str
    records: _containers.RepeatedCompositeFieldContainer[_records_pb2.Record]
    compression: Compression
    def __init__(self, run_id: _Optional[str] = ..., spool_id: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_records_pb2.Record, _Mapping]]] = ..., compression: _Optional[_Union[Compression, str]] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("sequence", "step_credit", "finished", "finished_reason", "replaced", "fault")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STEP_CREDIT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_REASON_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    step_credit: int
    finished: bool
    finished_reason: str
    replaced: bool
    fault: str
    def __init__(self, sequence: _Optional[int] = ..., step_credit: _Optional[int] = ..., finished: _Optional[bool] = ..., finished_reason: _Optional[str] = ..., replaced: _Optional[bool] = ..., fault: _Optional[str] = ...) -> None: ...

class PullPolicyRequest(_message.Message):
    __slots__ = ("run_id", "spool_id", "have_version", "have_evaluation", "have_frozen", "wants_reward", "have_reward")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPOOL_ID_FIELD_NUMBER: _ClassVar[int]
    HAVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    HAVE_EVALUATION_FIELD_NUMBER: _ClassVar[int]
    HAVE_FROZEN_FIELD_NUMBER: _ClassVar[int]
    WANTS_REWARD_FIELD_NUMBER: _ClassVar[int]
    HAVE_REWARD_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    spool_id: str
    have_version: int
    have_evaluation: int
    have_frozen: str
    wants_reward: bool
    have_reward: str
    def __init__(self, run_id: _Optional[str] = ..., spool_id: _Optional[str] = ..., have_version: _Optional[int] = ..., have_evaluation: _Optional[int] = ..., have_frozen: _Optional[str] = ..., wants_reward: _Optional[bool] = ..., have_reward: _Optional[str] = ...) -> None: ...

class PolicyChunk(_message.Message):
    __slots__ = ("use", "version", "total_bytes", "sha256", "evaluation_id", "evaluation_episodes", "evaluation_first_seed", "frozen_sha256", "frozen_bytes", "reward_name", "frozen", "data")
    USE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_EPISODES_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIRST_SEED_FIELD_NUMBER: _ClassVar[int]
    FROZEN_SHA256_FIELD_NUMBER: _ClassVar[int]
    FROZEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    REWARD_NAME_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    use: PolicyUse
    version: int
    total_bytes: int
    sha256: str
    evaluation_id: int
    evaluation_episodes: int
    evaluation_first_seed: int
    frozen_sha256: str
    frozen_bytes: int
    reward_name: str
    frozen: bytes
    data: bytes
    def __init__(self, use: _Optional[_Union[PolicyUse, str]] = ..., version: _Optional[int] = ..., total_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., evaluation_id: _Optional[int] = ..., evaluation_episodes: _Optional[int] = ..., evaluation_first_seed: _Optional[int] = ..., frozen_sha256: _Optional[str] = ..., frozen_bytes: _Optional[int] = ..., reward_name: _Optional[str] = ..., frozen: _Optional[bytes] = ..., data: _Optional[bytes] = ...) -> None: ...

class AmendEpisodeRequest(_message.Message):
    __slots__ = ("run_id", "amendment")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AMENDMENT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    amendment: _records_pb2.Amendment
    def __init__(self, run_id: _Optional[str] = ..., amendment: _Optional[_Union[_records_pb2.Amendment, _Mapping]] = ...) -> None: ...

class AmendEpisodeReply(_message.Message):
    __slots__ = ("applied",)
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    applied: bool
    def __init__(self, applied: _Optional[bool] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ActorStatus(_message.Message):
    __slots__ = ("name", "spool_id", "connected", "acknowledged", "env_steps", "steps_per_s", "policy_version", "policy_lag_steps", "seconds_since_heard")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPOOL_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    ENV_STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_S_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_LAG_STEPS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_SINCE_HEARD_FIELD_NUMBER: _ClassVar[int]
    name: str
    spool_id: str
    connected: bool
    acknowledged: int
    env_steps: int
    steps_per_s: float
    policy_version: int
    policy_lag_steps: float
    seconds_since_heard: float
    def __init__(self, name: _Optional[str] = ..., spool_id: _Optional[str] = ..., connected: _Optional[bool] = ..., acknowledged: _Optional[int] = ..., env_steps: _Optional[int] = ..., steps_per_s: _Optional[float] = ..., policy_version: _Optional[int] = ..., policy_lag_steps: _Optional[float] = ..., seconds_since_heard: _Optional[float] = ...) -> None: ...

class StopCondition(_message.Message):
    __slots__ = ("name", "value", "mark", "met", "reached", "in_a_row")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    mark: float
    met: bool
    reached: int
    in_a_row: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., mark: _Optional[float] = ..., met: _Optional[bool] = ..., reached: _Optional[int] = ..., in_a_row: _Optional[int] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("run_id", "phase", "elapsed_s", "env_steps", "episodes", "updates", "policy_version", "replay_rows", "demonstration_rows", "log_bytes", "metrics", "actors", "finished", "finished_reason", "run_folder", "version", "fault", "stop_conditions")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    ENV_STEPS_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLAY_ROWS_FIELD_NUMBER: _ClassVar[int]
    DEMONSTRATION_ROWS_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_REASON_FIELD_NUMBER: _ClassVar[int]
    RUN_FOLDER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    STOP_CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    phase: str
    elapsed_s: float
    env_steps: int
    episodes: int
    updates: int
    policy_version: int
    replay_rows: int
    demonstration_rows: int
    log_bytes: int
    metrics: _containers.ScalarMap[str, float]
    actors: _containers.RepeatedCompositeFieldContainer[ActorStatus]
    finished: bool
    finished_reason: str
    run_folder: str
    version: str
    fault: str
    stop_conditions: _containers.RepeatedCompositeFieldContainer[StopCondition]
    def __init__(self, run_id: _Optional[str] = ..., phase: _Optional[str] = ..., elapsed_s: _Optional[float] = ..., env_steps: _Optional[int] = ..., episodes: _Optional[int] = ..., updates: _Optional[int] = ..., policy_version: _Optional[int] = ..., replay_rows: _Optional[int] = ..., demonstration_rows: _Optional[int] = ..., log_bytes: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., actors: _Optional[_Iterable[_Union[ActorStatus, _Mapping]]] = ..., finished: _Optional[bool] = ..., finished_reason: _Optional[str] = ..., run_folder: _Optional[str] = ..., version: _Optional[str] = ..., fault: _Optional[str] = ..., stop_conditions: _Optional[_Iterable[_Union[StopCondition, _Mapping]]] = ...) -> None: ...
