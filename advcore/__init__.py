"""What advgen and advtrain share: the dataset contract, settings, run folders, weights, local inference, the Hub.

Imports neither of them. The three errors below are the vocabulary both command-line tools speak; the fourth,
`SandboxUnavailable`, belongs to `sandbox`. A bad row is never one of these: it is a recorded status with a reason.
"""


class ConfigError(ValueError):
    """Something a person wrote is wrong; the message is one line that says what to do. Exit code 2."""


class DataError(ValueError):
    """A dataset or file does not have the form that is needed. Exit code 2."""


class TeacherError(RuntimeError):
    """A model endpoint failed in a way that retrying cannot mend, so the run stops. Exit code 1."""
