"""The exception whose text is meant for the user, and the exception that ends a command from outside."""


class UserError(Exception):
    """An error that the user can fix. Its text is one plain sentence that says what to do; the exit code is 2.

    Where several things failed it has several sentences.
    """

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(map(str, self.args))

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class Interrupted(BaseException):
    """Ctrl-C or a signal stopped the command; the text, if there is any, says how far it had come.

    It is no KeyboardInterrupt, since Typer catches that one silently.
    """
