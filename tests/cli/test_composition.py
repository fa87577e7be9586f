"""Composed settings of every verb, and the text of every refusal."""

import dataclasses
from pathlib import Path

import pytest

from actor.config import ActorConfig
from cli import actor, demo, learner, record, status
from cli import eval as evaluation
from cli.composition import compose_verb
from cli.errors import UsageError
from learner.algorithms.sac_config import SACConfig
from learner.config import LearnerConfig
from tests.long.programs import documented_demo

VERBS = {"learner": learner, "actor": actor, "record": record, "eval": evaluation, "status": status, "demo": demo}


def compose(verb, *arguments):
    module = VERBS[verb]
    return compose_verb(verb, module.list_keys(), module.list_groups(), arguments)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_composes(verb):
    settings = compose(verb, *(["run=somewhere"] if verb == "eval" else []))
    assert settings.values


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_says_what_it_is(verb):
    assert [key.path for key in VERBS[verb].list_keys() if not key.doc] == []


def test_learner_defaults_are_those_of_its_config():
    settings = compose("learner", "tracker=none", "run=somewhere")
    config = learner.learner_config(settings)
    plain = LearnerConfig(env="so101_sim", env_config=settings.configs["env"], run="somewhere")
    assert config == plain


def test_every_setting_of_learner_and_actor_has_a_key():
    reached = {key.path for key in learner.list_keys()}
    for field in dataclasses.fields(LearnerConfig):
        if field.name not in ("env", "env_config", "algorithm", "acting", *learner.SECTIONS):
            assert {field.name, f"learner.{field.name}"} & reached, field.name
    assert {*actor.paths(), *(g.name for g in actor.list_groups())} == {f.name for f in dataclasses.fields(ActorConfig)}


def test_values_reach_the_config_with_their_types():
    arguments = (
        "env.task=reach",
        "env.workspace_low_m=[0.1,-0.1,0.02]",
        "algorithm.hidden=[64,64]",
        "algorithm.utd_ratio=1",
        "learner.address=127.0.0.1:0",
        "learner.device=cpu",
        "policy.pretrained=/a b/c=1/best",
        "log.sync=os",
        "pacing=lockstep",
        "warmup=operator",
        "seed=7",
        "replay.capacity_gb=0.5",
        "demos=runs/demos",
    )
    config = learner.learner_config(compose("learner", *arguments))
    assert config.env_config.task == "reach"
    assert config.env_config.workspace_low_m == (0.1, -0.1, 0.02)
    assert config.algorithm == dataclasses.replace(SACConfig(), hidden=(64, 64), utd_ratio=1.0)
    assert (config.address, config.device, config.demos) == ("127.0.0.1:0", "cpu", "runs/demos")
    assert config.policy.pretrained == "/a b/c=1/best"
    assert (config.log.sync, config.replay.capacity_gb) == ("os", 0.5)
    assert (config.acting.pacing, config.acting.warmup, config.acting.seed) == ("lockstep", "operator", 7)


def test_gymnasium_environments_have_an_algorithm_preset():
    config = learner.learner_config(compose("learner", "env=gym", "env.id=Pendulum-v1", "env.settings=g=9.81,x=true"))
    assert config.algorithm.entropy_backup
    assert config.algorithm.input_clip == 100.0
    assert config.env_config.id == "Pendulum-v1"
    assert config.env_config.settings == "g=9.81,x=true"


def test_observations_and_task_choose_presets():
    plain = learner.learner_config(compose("learner"))
    pixels = learner.learner_config(compose("learner", "env.obs=pixels"))
    assert plain.algorithm == SACConfig()
    assert pixels.algorithm.encoder_frozen == "cloned"
    insert = learner.learner_config(compose("learner", "env.task=insert"))
    both = learner.learner_config(compose("learner", "env.obs=pixels", "env.task=insert"))
    assert (insert.algorithm.gamma, both.algorithm.gamma) == (0.98, 0.97)
    assert (insert.algorithm.encoder_frozen, both.algorithm.encoder_frozen) == ("never", "cloned")
    own = learner.learner_config(compose("learner", "env.obs=pixels", "algorithm.encoder_frozen=never"))
    assert own.algorithm.encoder_frozen == "never"


def test_a_demo_from_pixels_records_more_and_hands_on_what_the_user_set():
    pixels, state = compose("demo"), compose("demo", "obs=state")
    assert (pixels["obs"], pixels["demonstrations"], pixels["evaluation.episodes"]) == ("pixels", 20, 50)
    assert pixels.configs["algorithm"].encoder_frozen == "cloned"
    assert (state["obs"], state["demonstrations"], state["evaluation.episodes"]) == ("state", 5, 50)
    assert pixels["exploration_share"] < state["exploration_share"]
    assert state.configs["algorithm"].encoder_frozen == "never"
    assert compose("demo", "env.task=insert")["final_episodes"] == 100
    assert compose("demo", "env.task=insert")["demonstrations"] == 20
    assert compose("demo", "obs=pixels", "demonstrations=7")["demonstrations"] == 7
    arguments = demo.learner_arguments(compose("demo", "obs=pixels", "algorithm.encoder_frozen=never", "run=x"))
    assert "algorithm.encoder_frozen=never" in arguments
    assert not any(argument.startswith("algorithm.clone_updates=") for argument in arguments)
    assert learner.learner_config(compose("learner", *arguments)).algorithm.encoder_frozen == "never"


def test_the_command_line_wins_over_a_preset():
    config = learner.learner_config(compose("learner", "algorithm.gamma=0.9", "env=gym"))
    assert config.algorithm.gamma == 0.9
    assert config.algorithm.utd_ratio == 1.0


def test_a_preset_whose_takeover_discount_nothing_would_use_says_what_to_set():
    arguments = ("env.obs=pixels", "replay.cut_at_takeover=false")
    with pytest.raises(UsageError, match=r"takeover_discount=0 .* Set algorithm\.takeover_discount=1, or leave out"):
        learner.learner_config(compose("learner", *arguments))
    config = learner.learner_config(compose("learner", *arguments, "algorithm.takeover_discount=1"))
    assert (config.algorithm.takeover_discount, config.replay.cut_at_takeover) == (1.0, False)


def test_actor_keys():
    settings = compose("actor", "learner.address=box:1", "operator=scripted", "actor.name=left", "pacing=realtime")
    config = settings.build(ActorConfig, actor.paths())
    assert (config.learner_address, config.operator, config.name) == ("box:1", "scripted", "left")
    assert config.pacing == "realtime"


def test_demo_hands_on_what_differs_from_the_learners_defaults():
    settings = compose("demo", "seed=3", "obs=proprio", "algorithm.gamma=0.9", "stop.max_time_s=5", "run=x")
    arguments = demo.learner_arguments(settings)
    for expected in ("seed=3", "env.obs=proprio", "algorithm.gamma=0.9", "stop.max_time_s=5", "env=so101_sim"):
        assert expected in arguments
    assert "stop.when_autonomous=true" in arguments
    assert not any(a.startswith(("run=", "demos=", "learner.address=", "env.task=")) for a in arguments)
    config = learner.learner_config(compose("learner", *arguments))
    assert config.stop.when_autonomous
    assert config.stop.max_time_s == 5.0
    assert config.env_config.obs == "proprio"


@pytest.mark.parametrize(
    ("verb", "argument", "text"),
    [
        ("learner", "env.tusk=lift", "unknown key 'env.tusk'. Did you mean 'env.task'? `tandem learner --help` lists"),
        ("learner", "envv.task=lift", "unknown key 'envv.task'. Did you mean 'env.task'?"),
        ("learner", "algorithm.lr=1", "unknown key 'algorithm.lr'. Did you mean 'algorithm.critic_lr'?"),
        ("learner", "adress=x", "unknown key 'adress'. Did you mean 'learner.address'?"),
        ("learner", "sync=os", "unknown key 'sync'. Did you mean 'log.sync'?"),
        ("learner", "algorithm.name=sac", "unknown key 'algorithm.name'."),
        ("learner", "zzzzzz=1", "unknown key 'zzzzzz'. `tandem learner --help` lists all keys"),
        ("learner", "seed=hello", "seed must be a whole number. Got: 'hello'"),
        ("learner", "seed=1.5", "seed must be a whole number. Got: '1.5'"),
        ("learner", "seed=null", "seed must be a whole number. Got: 'null'"),
        ("learner", "learning=perhaps", "learning must be true or false. Got: 'perhaps'"),
        ("learner", "algorithm.gamma=high", "algorithm.gamma must be a number. Got: 'high'"),
        ("learner", "algorithm.gamma=2", "algorithm.gamma must be between 0 and 1. Got: 2.0"),
        ("learner", "algorithm.hidden=256", "algorithm.hidden must be a list of whole numbers. Got: '256'"),
        ("learner", "algorithm.utd_ratio=1,2", "algorithm.utd_ratio must be a number; a list is written [a,b]"),
        ("learner", "env=so100", "env must be one of so101_sim, gym. Got: 'so100'. Did you mean 'so101_sim'?"),
        (
            "learner",
            "tracker=wandbb",
            "tracker must be one of wandb, trackio, none. Got: 'wandbb'. Did you mean 'wandb'",
        ),
        ("learner", "log=os", "'log' holds keys and has no value of its own. It has: log.sync"),
        ("learner", "--fast", "unknown option '--fast'. Settings are written key=value"),
        ("learner", "fast", "'fast' is no setting. Settings are written key=value"),
        ("learner", "+seed=1", "'+seed' is no key"),
        ("learner", "~seed=1", "'~seed' is no key"),
        ("learner", "resume=perhaps", "resume must be one of auto, must, never. Got: 'perhaps'"),
        ("actor", "operator=scriptd", "operator must be one of none, scripted, keyboard. Got: 'scriptd'. Did you mean"),
        ("actor", "env=so101_sim", "unknown key 'env'"),
        ("record", "episodes=many", "episodes must be a whole number. Got: 'many'"),
        ("eval", "episodes=5", "tandem eval needs run=...: Run folder."),
        ("demo", "env=gym", "env must be one of so101_sim. Got: 'gym'"),
        ("demo", "demos=x", "unknown key 'demos'. Did you mean"),
    ],
)
def test_refusals_name_the_key_and_what_was_expected(verb, argument, text):
    with pytest.raises(UsageError) as refusal:
        learner.learner_config(compose(verb, argument)) if verb == "learner" else compose(verb, argument)
    assert text in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_views_of_images_are_settings():
    pixels = ("env.obs=pixels", "env.image_crop=[0,8,48,48]", "env.image_resize=[32,32]", "env.image_stack=3")
    env = compose("learner", *pixels, "env.cameras=[wrist]").configs["env"]
    assert (env.image_crop, env.image_resize, env.image_stack, env.cameras) == ((0, 8, 48, 48), (32, 32), 3, ("wrist",))
    assert compose("learner", "env=gym", "env.pixels=true", "env.image_resize=[84,84]").configs["env"].pixels
    assert compose("actor", "actor.device=cuda").values["actor.device"] == "cuda"
    with pytest.raises(UsageError, match=r"actor\.device"):
        compose("actor", "actor.device=tpu")


@pytest.mark.parametrize("typed", ["[tool.z>0.06,gripper.pos<0.6]", "['tool.z>0.06','gripper.pos<0.6']"])
def test_conditions_on_the_state_are_typed_with_or_without_quotes_and_handed_on(typed):
    settings = compose("demo", "obs=pixels", "reward=classifier", "reward.model=x", f"reward.gates={typed}")
    assert settings.configs["reward"].gates == ("tool.z>0.06", "gripper.pos<0.6")
    handed_on = next(a for a in demo.reward_arguments(settings) if a.startswith("reward.gates="))
    assert compose("actor", "reward=classifier", handed_on).configs["reward"].gates == (
        "tool.z>0.06",
        "gripper.pos<0.6",
    )


def test_the_documented_command_trains_the_stock_network_of_drqv2():
    document = Path(__file__).parents[2] / "docs" / "encoders.md"
    settings = compose("demo", *documented_demo(document.read_text()))
    env, algorithm = settings.configs["env"], settings.configs["algorithm"]
    assert (settings["obs"], env.task, env.reach_tolerance_m) == ("pixels", "reach", 0.02)
    assert (env.image_height, env.image_width, env.image_stack) == (84, 84, 3)
    assert (algorithm.name, algorithm.encoder, algorithm.trunk_size) == ("drqv2", "drqv2", 50)
    assert algorithm.hidden == (1024, 1024)
