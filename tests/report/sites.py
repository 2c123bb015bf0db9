"""Sites to report of: recordings of every fate, and names that mean harm."""

from tests.places import REFUSED, Place, speech
from watcher.sandbox import Sandbox

HOSTILE: dict[str, bytes] = {
    "html": b"<script>alert(1)</script>.wav",
    "attribute": b"\"><img src=x onerror=alert(1)>'.wav",
    "template": b"{{ 7*7 }}{% raw %}.wav",
    "closing": b"<!--<style><title><textarea>]]>.wav",
    "formula": b'=HYPERLINK("http!evil","x").wav',
    "plus": b"+491701234567.wav",
    "minus": b"-2+3+cmd.wav",
    "at": b"@SUM(1,1).wav",
    "tab": b"\t=1+1.wav",
    "full width": "\uff1d1+1.wav".encode(),
    "blank": b" =1+1.wav",
    "separators": b'a;b,c"d".wav',
    "terminal": b"\x1b[31m\x1b]0;owned\x07red.wav",
    "line feed": b"one\r\ntwo,=3.wav",
    "bidi": "safe\u202egpj.wav\u2066.wav".encode(),
    "not UTF-8": b"caf\xe9-\xff\xfe.wav",
    "long": b"n" * 251 + b".wav",
    "combining": ("a" + "\u0301" * 60 + ".wav").encode(),
}
"""Names of recordings, each with what makes it hostile."""


def drop_many(place: Place, number: int = 40) -> None:
    """Mixed recordings in several subfolders, each with its fate."""
    marks = [b"", b"", b"", b"sandbox:artificial", b"", b"sandbox:inconclusive", b"", b"sandbox:errored"]
    for n in range(number):
        content = speech(f"recording {n}", note=marks[n % len(marks)])
        if n % 10 == 9:
            content = content[:300]  # cut short by its own header
        place.drop(f"2026-11-{20 + n % 5}/agent-{n % 3}/call-+4930{n:07}.wav", content)
    place.drop("notes/minutes.wav", b"Minutes of a meeting, which is no recording at all.\n" * 20)


def drop_hostile(place: Place) -> None:
    """One recording of each hostile name, in a hostile subfolder too."""
    for number, name in enumerate(HOSTILE.values()):
        place.drop(name, speech(f"hostile {number}"))
    place.drop(b"<b>=1+1</b>\x1b[2J/" + HOSTILE["html"], speech("in a hostile folder"))


def refuse(service: Sandbox, times: int) -> None:
    service.add_fault(**REFUSED, times=times)
