"""What ends a training run that cannot go on."""


class RunError(Exception):
    """The folder cannot be trained in; the message says why and what to do."""
