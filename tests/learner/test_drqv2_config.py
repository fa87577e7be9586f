"""Settings of DrQ-v2."""

from dataclasses import fields

import pytest

from cli.keys import docs_of
from learner.algorithms import ALGORITHMS
from learner.algorithms.drqv2_config import DrQv2Config


def test_the_defaults_are_the_published_recipe():
    """Section 4.1, table 2 and the authors' settings of an easy task."""
    config = DrQv2Config()
    published = {
        "batch_size": 256,
        "utd_ratio": 0.5,
        "actor_every": 1,
        "n_step": 3,
        "gamma": 0.99,
        "tau": 0.01,
        "encoder": "drqv2",
        "trunk_size": 50,
        "hidden": (1024, 1024),
        "critic_lr": 1e-4,
        "actor_lr": 1e-4,
        "encoder_lr": 1e-4,
        "shift_px": 4,
        "std_start": 1.0,
        "std_end": 0.1,
        "std_decay_steps": 100_000,
        "noise_clip": 0.3,
        "clamp_targets": False,
        "input_noise": 0.0,
        "clone_updates": 0,
        "clone_weight": 0.0,
        "ema": 1.0,
    }
    assert {key: getattr(config, key) for key in published} == published


def test_every_setting_is_documented():
    assert {f.name for f in fields(DrQv2Config)} == docs_of(DrQv2Config).keys()
    assert ALGORITHMS["drqv2"].config is DrQv2Config


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"gamma": 1.0}, "algorithm.gamma must be between 0 and 1. Got: 1.0"),
        ({"n_step": 0}, "algorithm.n_step must be at least 1. Got: 0"),
        ({"demo_share": 1.5}, "algorithm.demo_share must be from 0 to 1. Got: 1.5"),
        ({"tau": 0.0}, "algorithm.tau must be above 0 and at most 1. Got: 0.0"),
        ({"ema": 1.5}, "algorithm.ema must be above 0 and at most 1. Got: 1.5"),
        ({"std_end": -0.1}, "algorithm.std_end must be 0 or more. Got: -0.1"),
        ({"std_decay_steps": 0}, "algorithm.std_decay_steps must be at least 1. Got: 0"),
    ],
)
def test_impossible_settings_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        DrQv2Config(**changes)
