"""What advgen and advtrain share: the dataset contract, settings, run folders, asking models, local inference, the Hub.

Imports neither of them. The errors below are the vocabulary that both command lines speak; `SandboxUnavailable`, the
last of it, belongs to `sandbox`. A bad row is never one of these: it is a recorded status with a reason. A new kind of
error is a subclass with its `exit_code`; `advcore.cli` needs no change.
"""


class AdvdistillError(Exception):
    """Something that ends a command with one line; `exit_code` is the command's."""

    exit_code = 1


class ConfigError(AdvdistillError, ValueError):
    """Something a person wrote is wrong; the message is one line that says what to do."""

    exit_code = 2


class DataError(AdvdistillError, ValueError):
    """A dataset or file does not have the form that is needed."""

    exit_code = 2


class TeacherError(AdvdistillError, RuntimeError):
    """A model endpoint failed in a way that retrying cannot mend, so the run stops."""
