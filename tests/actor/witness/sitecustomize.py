"""On PYTHONPATH of the actors under test: registers environments that keep their own record of what was executed."""

import gymnasium

gymnasium.register("Witness-v0", entry_point="witness_env:WitnessEnv", max_episode_steps=12)
gymnasium.register("WitnessCamera-v0", entry_point="witness_env:WitnessCameraEnv", max_episode_steps=12)
