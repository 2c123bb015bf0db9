"""What the codec's child finds wrong with a recording."""


class Refused(Exception):
    """The recording cannot be made acceptable: what, and what a person can do."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def undecodable(reason: str) -> Refused:
    """Return the refusal of what no decoder can make sense of."""
    return Refused(
        "undecodable",
        f"It cannot be decoded: {reason}.",
        "Play it to see whether it is damaged. Get it again from its source, or export it as WAV, and drop that.",
    )
