"""Each setting, at another value than its default, as the finished trainer of a run has it."""

import threading
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from learner.algorithms.drqv2_config import DrQv2Config
from learner.config import ConfigError
from learner.replay import ReplayConfig
from policies.spec import PolicySpec
from tests.learner import training_run
from tests.learner.training_run import opened, started

IMAGE = Feature("observation.images.front", "uint8", (36, 36, 3))
ACTION = Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,))
CONTRACT = Contract(
    Interface("tests/settings", (training_run.STATE, IMAGE), ACTION),
    View((FeatureView(training_run.STATE.name), FeatureView(IMAGE.name))),
)
BATCH = 128


def config(**changes):
    """Of a run from images, with ``changes`` of the learner's settings, or else of its algorithm's."""
    mine = {key: changes.pop(key) for key in list(changes) if hasattr(training_run.CONFIG, key)}
    algorithm = replace(training_run.CONFIG.algorithm, batch_size=BATCH, **changes)
    return replace(training_run.CONFIG, **{"algorithm": algorithm} | mine)


def drawn(path, *, human=(), **changes):
    """A batch of a run with one episode of ten steps."""
    with started(path, config(**changes), CONTRACT) as (run, arm):
        arm.episode(10, human=human)
        arm.flush()
        return run.trainer.batches.next()


@pytest.mark.parametrize("n_step", [1, 4])
def test_windows_are_as_long_as_n_step(tmp_path, n_step):
    assert drawn(tmp_path, n_step=n_step).k.max() == n_step


def test_targets_are_discounted_by_gamma_and_less_after_a_takeover(tmp_path):
    batch = drawn(tmp_path, human=range(5, 10), gamma=0.5, takeover_discount=0.25)
    assert set(batch.discount / 0.5**batch.k) == {0.0, 0.25, 1.0}


@pytest.mark.parametrize(("cut", "longest"), [(True, 5), (False, 10)])
def test_windows_cross_a_takeover_where_they_may(tmp_path, cut, longest):
    batch = drawn(tmp_path, human=range(5, 10), n_step=10, replay=ReplayConfig(cut_at_takeover=cut))
    assert batch.k.max() == longest


@pytest.mark.parametrize("shift_px", [0, 1])
def test_images_are_shifted(tmp_path, shift_px):
    with started(tmp_path, config(shift_px=shift_px), CONTRACT) as (run, arm):
        arm.episode(10)
        arm.flush()
        still, shown = (
            {image.tobytes() for image in np.asarray(batch.observation[IMAGE.name])}
            for batch in (run.trainer.replay.sample(4 * BATCH), run.trainer.batches.next())
        )
    assert len(still) == 10
    assert (len(shown) > len(still)) == bool(shift_px)
    assert shown <= still or shift_px


@pytest.mark.parametrize(("place", "kind"), [("host", np.ndarray), ("device", torch.Tensor)])
def test_images_are_kept_where_they_are_to_be(tmp_path, place, kind):
    assert isinstance(drawn(tmp_path, replay=ReplayConfig(device=place)).observation[IMAGE.name], kind)


@pytest.mark.parametrize("prefetch", ["on", "off"])
def test_a_thread_reads_ahead_where_it_is_to(tmp_path, prefetch):
    with started(tmp_path, config(prefetch=prefetch), CONTRACT) as (run, arm):
        arm.episode(10)
        arm.flush()
        run.trainer.batches.next()
        assert any(t.name.startswith("prefetch") for t in threading.enumerate()) == (prefetch == "on")


def test_the_share_of_protected_rows_reaches_replay(tmp_path):
    refused = config(replay=ReplayConfig(protected_share=1.0))
    with (
        pytest.raises(ConfigError, match=r"replay\.protected_share must leave .* Got: 1\.0"),
        opened(tmp_path, refused),
    ):
        pass


def test_another_seed_draws_and_initialises_otherwise(tmp_path):
    seeds = [replace(training_run.CONFIG.acting, seed=seed) for seed in (1, 2)]
    runs = []
    for acting in seeds:
        with opened(tmp_path / str(acting.seed), config(acting=acting), CONTRACT) as run:
            runs.append((run.trainer.replay.rng_state(), run.trainer.algorithm.policy.head.weight.detach()))
    assert runs[0][0] != runs[1][0]
    assert not torch.equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize(("autocast", "dtype"), [("off", None), ("bfloat16", torch.bfloat16)])
def test_encoders_compute_in_the_dtype_asked_for(tmp_path, autocast, dtype):
    with opened(tmp_path, config(autocast=autocast), CONTRACT) as run:
        assert run.trainer.algorithm.encoder.autocast is dtype


def test_the_threads_of_torch_are_those_asked_for(tmp_path):
    before = torch.get_num_threads()
    try:
        with opened(tmp_path, config(torch_threads=2), CONTRACT):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"stall_steps": 7}, {"stall_steps": 7}),
        ({"hidden": (8, 12)}, {"hidden": (8, 12)}),
        ({"input_clip": 3.0}, {"clip": 3.0}),
        ({"initial_log_std": -1.0}, {"initial_log_std": -1.0}),
        ({"std_min": 1e-3, "std_max": 2.0}, {"std_min": 1e-3, "std_max": 2.0}),
        ({"encoder": "keypoints", "encoder_size": 24}, {"encoder": "keypoints", "encoder_size": 24}),
        (
            {"algorithm": DrQv2Config(encoder="small", trunk_size=9, hidden=(8,), stall_steps=7)},
            {"kind": "deterministic", "trunk_size": 9, "stall_steps": 7},
        ),
    ],
    ids=str,
)
def test_the_policy_is_of_the_spec_asked_for(tmp_path, settings, expected):
    with opened(tmp_path, config(**settings), CONTRACT) as run:
        spec = run.trainer.algorithm.spec
    defaults = {field.name: field.default for field in fields(PolicySpec)}
    assert all(defaults[key] != value for key, value in expected.items())
    assert {key: getattr(spec, key) for key in expected} == expected
