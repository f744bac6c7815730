"""The collector's errors.

ImpersonalError
 ├─ PolicyError         policy.toml does not say what it must; lists every mistake with its line and remedy
 ├─ ConfigurationError  an argument, a key file or a database the operator gave cannot be used
 ├─ DeclarationError    a declared value is not of the attribute's type
 └─ RecordError         bytes in a log that are not a whole, known record; carries a closed reason
"""


class ImpersonalError(Exception):
    """Anything a user can cause: one line, naming the remedy."""


class PolicyError(ImpersonalError):
    """The policy cannot be used; `mistakes` holds one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("; ".join(mistakes))


class ConfigurationError(ImpersonalError):
    """Something the operator passed cannot work as given."""


class DeclarationError(ImpersonalError):
    """A value that does not fit what the policy says of its attribute."""


class RecordError(ImpersonalError):
    """A record that cannot be read back; `reason` is one of record.REASONS."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
