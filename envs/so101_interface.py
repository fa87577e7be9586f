"""The simulated SO-101 as the rest of the system sees it: its config, its features and its contract.

Pure functions of the config: no MuJoCo is imported and no model is built here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from envs.errors import EnvError
from envs.so101_model import CAMERAS, JOINTS, TIMESTEP_S
from episodes.contract import IMAGE_PREFIX, Contract, Feature, FeatureView, Interface, RewardBounds, View

STATE, COMMAND, ACTION = "observation.state", "observation.command", "action"
TASKS = {"insert": 120, "lift": 60, "reach": 40}
"""Tasks and their time limit in control steps."""
OBSERVATIONS = ("state", "proprio", "pixels")
PLAY_MM = {"state": 2.0, "proprio": 2.0, "pixels": 4.0}
"""Play of the slot with each kind of observation, by docs/insert.md."""
NEAR_M = 0.04
"""Range of the fine copy of a relative position: close in, a few millimetres then fill the scale."""
NEAR_SLOT_M = 0.01
"""The same of cube minus slot, where a millimetre decides."""


@dataclass(frozen=True)
class SO101SimConfig:
    """The simulated SO-101. All fields are flat, so that the config travels as typed settings."""

    task: str = "lift"
    """``lift``: hold the cube ``lift_height_m`` above the table. ``insert``: set it into the slot and let go.
    ``reach``: bring the tool point to the goal marker."""
    obs: str = "state"
    """``state``: few relative numbers, simulator only. ``proprio``: what servos know. ``pixels``: and the cameras."""
    cameras: tuple[str, ...] = CAMERAS
    """Cameras of ``obs=pixels``, in order."""
    image_width: int = 64
    """Width in pixels of what a camera captures."""
    image_height: int = 64
    """Height in pixels of what a camera captures."""
    image_crop: tuple[int, ...] = ()
    """What is kept of every captured image: top, left, height, width in pixels; empty for all of it."""
    image_resize: tuple[int, ...] = ()
    """Height and width in pixels of every image after the crop, as it is sent and stored; empty for none."""
    control_hz: float = 10.0
    """Control rate in Hz; a control step lasts a whole number of 4 ms physics steps."""
    max_episode_steps: int = 0
    """Control steps until the episode is truncated; 0 takes the task's own (insert 120, lift 60, reach 40)."""
    max_step_m: float = 0.02
    """How far one unit of action moves the commanded target, in [m]."""
    workspace_low_m: tuple[float, ...] = (0.15, -0.12, 0.012)
    """Lowest commanded x, y, z of the tool point in [m], base frame: x forward, y left, z up from the table."""
    workspace_high_m: tuple[float, ...] = (0.28, 0.12, 0.13)
    """Highest commanded x, y, z of the tool point in [m]."""
    target_lead_m: float = 0.04
    """How far the commanded target may run ahead of the measured tool point, in [m]."""
    cube_yaw_deg: float = 25.0
    """The cube starts turned by at most this angle, in degrees."""
    lift_height_m: float = 0.05
    """Success of ``lift``: both pads touch the cube and it is this far above where it rested, in [m]."""
    reach_tolerance_m: float = 0.01
    """Success of ``reach``: the tool point is this close to the goal, in [m]."""
    play_mm: float = 0.0
    """``insert``: how much wider than the cube the slot is, in [mm]; 0 takes what the rule in docs/insert.md gives:
    4 with ``obs=pixels``, else 2."""
    operator_noise: float = 0.1
    """Noise on the scripted operator's actions: its standard deviation in action units; see
    envs.teleop.scripted."""
    stack: int = 3
    """Frames of proprioception a policy sees with ``obs=proprio`` and ``obs=pixels``; stacked at sampling, not here."""
    image_stack: int = 1
    """Frames of every camera a policy sees at once; stacked at sampling, not here."""
    light_jitter: float = 0.0
    """How far brightness, tint and direction of the light differ from one episode to the next, as a share in [0, 1)."""
    camera_jitter_m: float = 0.0
    """How far the front camera is displaced along each axis in an episode, in [m]; the wrist camera a quarter of it."""
    camera_jitter_deg: float = 0.0
    """How far the front camera is turned about each axis in an episode; the wrist camera a quarter of it."""
    cube_colours: bool = False
    """Whether the cube has another colour in every episode."""
    render_width: int = 480
    """Width in pixels of what ``render()`` returns."""
    render_height: int = 360
    """Height in pixels of what ``render()`` returns."""

    def __post_init__(self) -> None:
        _require(self.task in TASKS, "task", f"one of {sorted(TASKS)}", self.task)
        _require(self.obs in OBSERVATIONS, "obs", f"one of {sorted(OBSERVATIONS)}", self.obs)
        known = 0 < len(set(self.cameras)) == len(self.cameras) and set(self.cameras) <= set(CAMERAS)
        _require(known, "cameras", f"some of {CAMERAS}, each once", self.cameras)
        for key in ("image_width", "image_height", "stack", "image_stack"):
            _require(getattr(self, key) > 0, key, "positive", getattr(self, key))
        periods = 1.0 / (self.control_hz * TIMESTEP_S) if self.control_hz > 0 else 0.0
        whole = periods >= 1 and abs(periods - round(periods)) < 1e-6
        _require(whole, "control_hz", f"a rate whose period is a multiple of {TIMESTEP_S} s", self.control_hz)
        _require(self.max_step_m > 0, "max_step_m", "positive", self.max_step_m)
        _require(self.play_mm >= 0, "play_mm", "0 or more", self.play_mm)
        _require(self.operator_noise >= 0, "operator_noise", "0 or more", self.operator_noise)
        _require(0 <= self.light_jitter < 1, "light_jitter", "in [0, 1)", self.light_jitter)
        for key in ("camera_jitter_m", "camera_jitter_deg"):
            _require(getattr(self, key) >= 0, key, "0 or more", getattr(self, key))
        _require(self.target_lead_m > 0, "target_lead_m", "positive", self.target_lead_m)
        box = (self.workspace_low_m, self.workspace_high_m)
        boxed = all(len(side) == 3 for side in box) and all(a < b for a, b in zip(*box, strict=True))
        _require(boxed, "workspace_low_m", "three numbers below workspace_high_m", box)

    @property
    def step_limit(self) -> int:
        """Control steps until the episode is truncated."""
        return self.max_episode_steps if self.max_episode_steps > 0 else TASKS[self.task]

    @property
    def slot_play_m(self) -> float:
        """How much wider than the cube the slot is, in [m]."""
        return (self.play_mm or PLAY_MM[self.obs]) / 1000.0

    @property
    def substeps(self) -> int:
        """Physics steps in one control step."""
        return round(1.0 / (self.control_hz * TIMESTEP_S))


def limited(config: SO101SimConfig, max_step_m: float = 0.0) -> SO101SimConfig:
    """A learner's config within a machine's own limits: the common part of its workspace box and the default one.

    Raises EnvError where one step is longer than ``max_step_m`` (0: the default's), the steps of a second are together
    longer than that at the default control rate, or the target runs further ahead than by default: all are part of the
    contract, so one side cannot change them.
    """
    own = SO101SimConfig()
    own_step_m = max_step_m or own.max_step_m
    for key, most in (("max_step_m", own_step_m), ("target_lead_m", own.target_lead_m)):
        value = getattr(config, key)
        if not value <= most:
            raise EnvError(
                f"env.{key}: expected at most {most:g}, this machine's own limit, got {value:g}. "
                f"Set env.{key}={most:g} at the learner"
            )
    most_hz = own_step_m * own.control_hz / config.max_step_m
    if not config.control_hz <= most_hz * (1 + 1e-9):
        raise EnvError(
            f"env.control_hz: expected at most {most_hz:g} with steps of {config.max_step_m:g} m, this machine's own "
            f"limit, got {config.control_hz:g}. Set env.control_hz={own.control_hz:g} at the learner"
        )
    return replace(
        config,
        workspace_low_m=tuple(map(max, own.workspace_low_m, config.workspace_low_m)),
        workspace_high_m=tuple(map(min, own.workspace_high_m, config.workspace_high_m)),
    )


def _require(good: bool, key: str, expected: str, got: object) -> None:
    if not good:
        raise EnvError(f"env.{key} must be {expected}. Got: {got!r}")


def _vector(name: str, rows: list[tuple[str, str, float, float]]) -> Feature:
    components, units, low, high = zip(*rows, strict=True)
    return Feature(name, "float32", (len(rows),), components, units, low, high)


def _xyz(prefix: str, bound: float) -> list[tuple[str, str, float, float]]:
    return [(f"{prefix}.{axis}", "m", -bound, bound) for axis in "xyz"]


def _relative_state(task: str) -> Feature:
    thing = "goal" if task == "reach" else "cube"
    rows = _xyz(f"{thing}_minus_tool", 1.0) + _xyz(f"{thing}_minus_tool_near", NEAR_M)
    if task == "insert":
        rows += _xyz("cube_minus_slot", 1.0) + _xyz("cube_minus_slot_near", NEAR_SLOT_M)
    if task != "reach":
        rows += [
            ("tool.z", "m", -1.0, 1.0),
            ("gripper.pos", "rad", -4.0, 4.0),
            ("gripper.vel", "rad/s", -20.0, 20.0),
            ("gripper.command", "1", -1.0, 1.0),
            ("cube.z", "m", -1.0, 1.0),
            ("cube.sin_4yaw", "1", -1.0, 1.0),
            ("cube.cos_4yaw", "1", -1.0, 1.0),
        ]
    if task == "insert":
        rows += [("cube.up.x", "1", -1.0, 1.0), ("cube.up.y", "1", -1.0, 1.0)]
        rows += [("slot.x", "m", -1.0, 1.0), ("slot.y", "m", -1.0, 1.0)]
    return _vector(STATE, rows + _xyz("target_minus_tool", 1.0))


def _proprioception() -> tuple[Feature, Feature]:
    state = [(f"{joint}.pos", "rad", -4.0, 4.0) for joint in JOINTS]
    state += [(f"{joint}.vel", "rad/s", -20.0, 20.0) for joint in JOINTS]
    state += _xyz("tool", 1.0)
    state += [(f"tool.{angle}", "rad", -3.2, 3.2) for angle in ("roll", "pitch", "yaw")]
    return _vector(STATE, state), _vector(COMMAND, [*_xyz("target", 1.0), ("gripper.command", "1", -1.0, 1.0)])


def observation_features(config: SO101SimConfig) -> tuple[Feature, ...]:
    """Features of one observation, in order, with names, units and bounds; images as captured."""
    if config.obs == "state":
        return (_relative_state(config.task),)
    if config.obs == "proprio":
        return _proprioception()
    size = (config.image_height, config.image_width, 3)
    return (*_proprioception(), *(Feature(f"{IMAGE_PREFIX}{name}", "uint8", size) for name in config.cameras))


def action_feature(config: SO101SimConfig) -> Feature:
    """The action: three moves of the commanded target and the gripper command."""
    unit = f"{config.max_step_m:g} m"
    return _vector(
        ACTION, [*((f"target_delta.{axis}", unit, -1.0, 1.0) for axis in "xyz"), ("gripper.command", "1", -1.0, 1.0)]
    )


def derive_contract(config: SO101SimConfig) -> Contract:
    """The contract of a run in this environment."""
    features = observation_features(config)
    interface = Interface(
        task=f"so101_sim/{config.task}",
        observations=features,
        action=action_feature(config),
        action_meaning=(
            f"xyz: moves the last commanded target of the tool point by {config.max_step_m:g} m per unit in the base "
            f"frame, kept in the workspace box and within {config.target_lead_m:g} m of the measured tool point; "
            "gripper: opening commanded"
        ),
        gripper_sign="-1 closed, +1 open",
        control_hz=config.control_hz,
        reward=RewardBounds(bounded=True, low=0.0, high=1.0, only_at_end=True),
    )
    return Contract(interface, View(tuple(_view(f, config) for f in features)))


def _view(feature: Feature, config: SO101SimConfig) -> FeatureView:
    if feature.is_image:
        return FeatureView(feature.name, config.image_crop, config.image_resize, config.image_stack)
    return FeatureView(feature.name, stack=config.stack if feature.name == STATE and config.obs != "state" else 1)
