"""Simulated and real robots as gymnasium environments, their wrappers, and the people and devices that take over.

Whoever can take over is an ``envs.teleop.operator.Operator``. An intervention is detected before every step, by
``actor.episode.EpisodeRunner``: a step whose action the operator gave is marked ``human``, and it keeps what the policy
proposed, what was chosen and what was sent.
"""
