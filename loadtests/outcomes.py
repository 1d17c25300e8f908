"""What may become of a request besides the right answer."""


class Refused(Exception):
    """The service had no room, and said when to come back: 429 or 503 with `Retry-After`, or the same over gRPC."""


class Failed(Exception):
    """No right answer came. Messages hold nothing of the single request, so that like ones are counted together."""


class WrongAnswer(Failed):
    """An answer came and is not what was promised."""


class NotAnswered(Failed):
    """An error, a lost connection, or silence until the timeout."""


class NotSent(Failed):
    """An arrival of an open loop that found too many requests of its user under way."""
