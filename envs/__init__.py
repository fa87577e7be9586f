"""Simulated and real robots as gymnasium environments, their wrappers, and the people and devices that take over."""
