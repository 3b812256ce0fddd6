"""The exception whose text is meant for the user, and the one by which the user ends a command."""


class UserError(Exception):
    """Something the user can put right. Its text is one plain sentence that says what to do; exit code 2."""


class Stopped(BaseException):
    """By Ctrl-C or from outside. Not a KeyboardInterrupt, of which the library of the commands says nothing."""
