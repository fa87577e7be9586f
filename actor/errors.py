"""Errors of the actor that several of its parts raise."""

from __future__ import annotations


class SpoolError(RuntimeError):
    """A spool that is full, damaged, or belongs to something else. The text says what to do."""


class SpoolFullError(SpoolError):
    """The spool has no room for another step and the end of its episode."""
