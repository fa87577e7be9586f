"""The one error of environments that people meet."""


class EnvError(ValueError):
    """An environment that is unknown, cannot be made here, or cannot be trained. The text says what to do."""
