"""The one kind of error that the command line tells in a line, without a traceback."""


class CommandError(Exception):
    """A command cannot do its work. The text says why and what to do next."""
