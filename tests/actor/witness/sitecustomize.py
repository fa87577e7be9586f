"""On PYTHONPATH of the actors under test: registers an environment that keeps its own record of what was executed."""

import gymnasium

gymnasium.register("Witness-v0", entry_point="witness_env:WitnessEnv", max_episode_steps=12)
