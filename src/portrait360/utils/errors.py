"""The exception whose text is meant for the user, and the exception that ends a command from outside."""


class UserError(Exception):
    """An error that the user can fix. Its text is one plain sentence that says what to do; the exit code is 2."""


class Interrupted(BaseException):
    """Ctrl-C or a signal stopped the command. It is no KeyboardInterrupt, since Typer catches that one silently."""
