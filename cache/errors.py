"""The three ways a command can end other than well, and the exit code of each.

A message says what was found, what was allowed, why it matters and what to do next.
"""

from __future__ import annotations


class UserError(ValueError):
    """The user's mistake: shown as one message, without a traceback; exit 2."""

    exit_code = 2


class MachineError(RuntimeError):
    """A fault of the machine (disk full, engine died); exit 3."""

    exit_code = 3


class FindingsError(RuntimeError):
    """The work finished, but too much of it failed or a check found faults; exit 1."""

    exit_code = 1
