"""The one exception whose text is meant for the user."""


class UserError(Exception):
    """Something the user can put right. Its text is one plain sentence that says what to do; exit code 2."""
