"""The one kind of error that is the caller's to mend."""


class UserError(ValueError):
    """The caller's mistake, said in one line: what was wrong, with what, and what was expected.

    The command line prints the line and exits with status 2, with no traceback. From Python it is a `ValueError`.
    """
