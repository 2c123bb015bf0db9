"""The plan: how a recording is made acceptable to the service, and what that costs. Pure.

Facts, measured on telephone speech: FLAC takes 0.45 to 0.68 of the bytes of PCM, 0.99 of a µ-law WAV, 1.8 times an
ADPCM WAV and 2.4 times a GSM WAV; of fractions (floating point) there is no FLAC.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil

from watcher.audio import Examination, conversion
from watcher.audio.riff import Blocks
from watcher.config import AudioConfig
from watcher.domain import Fault, Mode
from watcher.journey.prepare import unsendable
from watcher.journey.prepare.made import wanted_channels
from watcher.journey.prepare.quiet import counts
from watcher.journey.prepare.wav_cut import overhead

_REENCODED = 1.2  # of a FLAC, by another encoder, at the most
_HEADER_BYTES = 64 * 1024  # more than any container but MP4 has besides its packets
_TAG_BYTES = 1 << 24  # of a picture in a tag: its length has 24 bits
_SHARE = 0.9  # of a part: never less than this is left for sound, however small a part must be
_MP4_BYTES_A_PACKET = 24
_OGG_BYTES_A_PACKET = 4
_UNREADABLE = 8  # times all that could be sent: no shrinking is that good, so it is not even read

_OGG, _MP3, _MP4, _3GP = "Ogg", "MP3", "M4A", "3GP"
_COPIED = {
    "Opus": _OGG,
    "Vorbis": _OGG,
    "Speex": _OGG,
    "MP3": _MP3,
    "MPEG Layer II": _MP3,
    "AAC": _MP4,
    "ALAC": _MP4,
    "AMR": _3GP,
    "AMR-WB": _3GP,
}
_WAV_CODECS = ("PCM", "IEEE float", "µ-law", "A-law", "MS ADPCM", "IMA ADPCM", "GSM 6.10")
_WAV_LIKE = ("WAV", "Wave64")  # whose blocks of ADPCM and GSM are WAV's
_LOSSLESS = ("PCM", "IEEE float", "FLAC", "µ-law", "A-law")
_NO_SINGLE_CHANNEL = ("MS ADPCM", "IMA ADPCM", "GSM 6.10")
_WITH_PICTURES = ("MOV", "MP4", "Matroska", "WebM", "FLV", "WMA")  # may be: how much is sound is not known


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a recording before any of it is decoded."""

    examination: Examination
    size: int
    blocks: Blocks | None = None  # of a WAV that can be cut
    name: bytes = b""  # for hints only


@dataclass(frozen=True, slots=True)
class Plan:
    """How a recording is made acceptable, and how many submissions that comes to: `fewest` to `most`.

    `fewest` is one wherever only the samples tell how far it shrinks. Parts without any sound are not sent: they
    count as if they were.
    """

    mode: Mode
    fewest: int
    most: int
    reason: str
    fault: Fault | None = None  # why it is refused; what it would have cost stands in `fewest` and `most`

    @property
    def submissions(self) -> str:
        """In words: "1", "1 to 2"."""
        return f"{self.most:,}" if self.fewest == self.most else f"{self.fewest:,} to {self.most:,}"


def may_be_sent(size: int, audio: AudioConfig, max_bytes: int) -> bool:
    """Return whether a recording of so many bytes could be made acceptable: else it need not be read."""
    if size <= max_bytes:
        return True
    return audio.prepare and audio.oversize != "fail" and size <= _UNREADABLE * audio.max_parts * max_bytes


def make_plan(source: Source, audio: AudioConfig, max_bytes: int, *, has_codec: bool) -> Plan:
    """Return how this recording is made acceptable, or why it is not. It has sound, and no damage.

    The bytes as they are come first, since only they keep a provenance manifest; then what keeps the packets or
    blocks; then FLAC, where it is lossless and saves submissions or where nothing else is left.
    """
    seconds = source.examination.seconds
    wanted = audio if audio.oversize != "fail" else audio.model_copy(update={"oversize": "shrink"})
    plan = _way(
        source, wanted, max_bytes, has_codec=has_codec
    )  # what is forbidden is planned too: its cost is told
    if seconds is not None and seconds < audio.min_seconds:
        return _refused(plan, unsendable.too_short(seconds, audio.min_seconds).as_fault())
    if plan.mode is Mode.AS_IS or plan.fault is not None:
        return plan
    if (forbidden := _forbidden(source, audio, max_bytes, plan)) is not None:
        return _refused(plan, forbidden)
    if plan.mode is not Mode.CUT and not has_codec:
        return _refused(plan, unsendable.codec_missing(source.examination.container).as_fault())
    if plan.fewest > audio.max_parts:
        return _refused(plan, unsendable.too_long(plan.fewest, audio.max_parts).as_fault())
    if source.examination.has_provenance:
        lost = "Its provenance manifest (C2PA) does not survive that, so the service does not see it."
        return replace(plan, reason=f"{plan.reason} {lost}")
    return plan


def _refused(plan: Plan, fault: Fault) -> Plan:
    return replace(plan, mode=Mode.REFUSE, reason=fault.message, fault=fault)


def _forbidden(source: Source, audio: AudioConfig, max_bytes: int, plan: Plan) -> Fault | None:
    """Return why the configuration does not want this recording to be prepared."""
    found, size = source.examination, source.size
    if not found.is_accepted and not (audio.prepare and audio.foreign == "convert"):
        return Fault(
            "unsupported_type",
            f"It is {_kind(found)}, which the service does not take, and {_setting(audio, 'foreign')}.",
            f'With audio.prepare = true and audio.foreign = "convert" it would take {_times(plan)}. Else: '
            f"{conversion(found, source.name)}",
        )
    if size > max_bytes and not (audio.prepare and audio.oversize != "fail"):
        return too_large(size, max_bytes, audio, plan)
    return None


def too_large(size: int, max_bytes: int, audio: AudioConfig, plan: Plan | None = None) -> Fault:
    """Return why a recording of this size is not sent; `plan`: how it could be."""
    cost = f"would take {_times(plan)}" if plan is not None and plan.most else "would be made to fit"
    if audio.prepare and audio.oversize != "fail":
        hint = "Split it, or export it in a compressed format (8 kHz mono, MP3 or Opus). Nothing was sent or paid."
    else:
        hint = (
            f'With audio.prepare = true and audio.oversize = "shrink" it {cost}. Else split it, or export it in a '
            "compressed format (8 kHz mono, MP3 or Opus). Nothing was sent or paid."
        )
    return Fault(
        "too_large",
        f"The recording has {size:,} bytes; the service takes {max_bytes:,} at the most.",
        hint,
    )


def _setting(audio: AudioConfig, key: str) -> str:
    return f'audio.{key} is "fail"' if audio.prepare else "audio.prepare is false"


def _kind(found: Examination) -> str:
    if found.container == "raw":
        return f"{found.codec or 'sound'} without a header"
    inside = f" with {found.codec}" if found.codec and found.codec not in found.container else ""
    return f"{found.container}{inside}"


def _times(plan: Plan) -> str:
    return f"{plan.submissions} submission{'' if plan.most == 1 else 's'}"


# The ways


def _way(source: Source, audio: AudioConfig, max_bytes: int, *, has_codec: bool) -> Plan:
    found = source.examination
    streams, is_split = _streams(found, audio)
    fits = source.size <= max_bytes
    if found.is_accepted and fits and not is_split:
        return Plan(Mode.AS_IS, 1, 1, "The service takes it as it is.")
    why = _why(source, max_bytes, is_split=is_split)
    if is_split and not (found.codec in ("PCM", "IEEE float", "µ-law", "A-law") and _goes_into_wav(found)):
        return _encoded(source, max_bytes, streams, f"{why}: it is decoded to FLAC, each channel by itself")
    if found.container == "WAV" and source.blocks is not None:
        return _of_blocks(source, source.blocks, audio, max_bytes, streams, why, has_codec=has_codec)
    if _goes_into_wav(found):
        return _into_wav(source, audio, max_bytes, streams, why)
    if (target := _COPIED.get(found.codec or "")) is not None and not (
        found.container == "WAV" and target == _MP4
    ):
        return _copied(source, max_bytes, target, why)
    how = "encoded as FLAC, without loss" if found.codec in _LOSSLESS else "decoded to FLAC"
    return _encoded(source, max_bytes, streams, f"{why}: it is {how}")


def _streams(found: Examination, audio: AudioConfig) -> tuple[int, bool]:
    """Return how many recordings go out of this one at the most, and whether they are single channels of it."""
    channels = found.channels or 2  # where nobody knows yet, there may be two
    wanted = wanted_channels(audio.channels, channels)
    return len(wanted), wanted != [None]


def _why(source: Source, max_bytes: int, *, is_split: bool) -> str:
    found = source.examination
    if not found.is_accepted:
        return f"The service does not take {_kind(found)}"
    if source.size > max_bytes:
        return f"It has {source.size:,} bytes, and the service takes {max_bytes:,} at the most"
    return "Its channels are submitted apart" if is_split else "It is prepared"


def _goes_into_wav(found: Examination) -> bool:
    """Return whether its blocks can stand in a WAV as they are."""
    if found.container == "WAV":
        return True
    if found.codec not in _WAV_CODECS or found.is_big_endian:
        return False
    if found.codec in _NO_SINGLE_CHANNEL:
        return found.container in _WAV_LIKE
    if found.container == "FLV" or (found.codec == "PCM" and found.bits == 8):
        return found.container in _WAV_LIKE  # elsewhere they may have a sign, which those of WAV have not
    return found.container != "MOV" or found.codec in ("µ-law", "A-law", "PCM")


def _of_blocks(
    source: Source, blocks: Blocks, audio: AudioConfig, max_bytes: int, streams: int, why: str, *, has_codec: bool
) -> Plan:
    """Plan for a WAV that can be cut: encode it where that is lossless and saves submissions."""
    most_bytes = max(max_bytes - overhead(blocks), blocks.block_bytes)
    share = blocks.size if streams == 1 and audio.channels == "together" else blocks.size / blocks.channels
    cut = counts(share, most_bytes)
    cuttable = audio.channels == "together" or blocks.channels == 1 or blocks.form is not None
    if audio.oversize == "shrink" and has_codec and _shrinks(source.examination):
        flac = _counts_of_flac(share, max_bytes)
        if flac[0] < cut[0] or not cuttable:
            return _plan(Mode.FLAC, flac, streams, f"{why}: it is encoded as FLAC, without loss")
    if not cuttable:
        return _encoded(source, max_bytes, streams, f"{why}: it is decoded to FLAC, each channel by itself")
    return _plan(Mode.CUT, cut, streams, f"{why}: it is cut at its blocks, without loss")


def _shrinks(found: Examination) -> bool:
    return found.codec == "PCM" and found.bits is not None and 9 <= found.bits <= 24


def _into_wav(source: Source, audio: AudioConfig, max_bytes: int, streams: int, why: str) -> Plan:
    """Plan for blocks in another container: into a WAV, cut where that is too large; or FLAC where that saves."""
    found = source.examination
    is_whole = streams == 1 and audio.channels == "together"
    share = source.size if is_whole else source.size / (found.channels or 1)
    total = counts(share + _HEADER_BYTES if share + _HEADER_BYTES > max_bytes else share, _room(max_bytes))
    if total[1] > 1 and audio.oversize == "shrink" and _shrinks(found):
        return _plan(
            Mode.FLAC, _counts_of_flac(share, max_bytes), streams, f"{why}: it is encoded as FLAC, without loss"
        )
    if total[1] > 1:
        total = _fewest(found, share, max_bytes), total[1]
        return _plan(Mode.COPY, total, streams, f"{why}: its sound goes into WAVs, unchanged")
    return _plan(Mode.REMUX, total, streams, f"{why}: its sound goes into a WAV, unchanged")


def _copied(source: Source, max_bytes: int, target: str, why: str) -> Plan:
    found = source.examination
    seconds = found.seconds or 0.0
    per_second = {_OGG: 400 * _OGG_BYTES_A_PACKET, _MP3: 0}.get(target, _mp4_packets(found) * _MP4_BYTES_A_PACKET)
    extra = (
        int(seconds * per_second) if target == _3GP or found.container not in ("MP4", "M4A", "MOV", "Ogg") else 0
    )
    if not found.is_accepted and source.size + extra + min(_HEADER_BYTES, source.size // 10 + 4096) <= max_bytes:
        return _plan(Mode.REMUX, (1, 1), 1, f"{why}: its packets go into {target}, unchanged")
    total = _fewest(found, source.size, max_bytes), counts(source.size + extra, _room(max_bytes))[1]
    return _plan(Mode.COPY, total, 1, f"{why}: it is cut at its packets, unchanged")


def _mp4_packets(found: Examination) -> float:
    """Return how many packets a second has."""
    return 50.0 if found.codec in ("AMR", "AMR-WB") else (found.sample_rate or 48000) / 1024 + 1


def _encoded(source: Source, max_bytes: int, streams: int, reason: str) -> Plan:
    """Plan for what has to be decoded. The samples are counted beforehand; how they shrink is not known."""
    found = source.examination
    if found.codec == "FLAC" and streams == 1 and found.container == "FLAC":
        return _plan(Mode.FLAC, (1, counts(_REENCODED * source.size, _room(max_bytes))[1]), 1, reason)
    if found.seconds is None or not found.sample_rate:
        most = counts(source.size * 64, _room(max_bytes))[1]  # as if it were the densest of codecs
        return _plan(Mode.FLAC, (1, most), streams, reason)
    width = max(2, ceil((found.bits or 16) / 8)) if found.codec in ("PCM", "IEEE float") else 2
    channels = (found.channels or 2) if streams == 1 else 1
    pcm = found.seconds * found.sample_rate * width * channels
    if found.codec == "IEEE float" or (found.codec == "PCM" and (found.bits or 16) > 24):
        total = max(1, ceil(pcm / max_bytes)), counts(pcm, _room(max_bytes))[1]
        return _plan(Mode.FLAC, total, streams, reason.replace("FLAC", "WAV"))
    return _plan(Mode.FLAC, _counts_of_flac(pcm, max_bytes), streams, reason)


def _room(max_bytes: int) -> float:
    """Return how much of a part is sound at the least."""
    return max(max_bytes - _HEADER_BYTES, _SHARE * max_bytes)


def _counts_of_flac(pcm_bytes: float, max_bytes: int) -> tuple[int, int]:
    """Return the fewest and the most parts: silence shrinks to next to nothing, noise not at all."""
    return 1, counts(pcm_bytes, _room(max_bytes))[1]


def _fewest(found: Examination, size: float, max_bytes: int) -> int:
    """Return the fewest parts, each as full as can be, of a recording of which so much is sound and tags."""
    return 1 if found.container in _WITH_PICTURES else max(1, ceil((size - _TAG_BYTES) / max_bytes))


def _plan(mode: Mode, total: tuple[int, int], streams: int, reason: str) -> Plan:
    """Return the plan; channels without sound, and equal ones, are not sent: only the samples tell."""
    fewest, most = total
    plan = Plan(mode, fewest, most * streams, "")
    return replace(plan, reason=f"{reason}, in {_times(plan)}.")


def sum_up(plans: Iterable[Plan]) -> tuple[int, int]:
    """Return the fewest and the most submissions of those that are sent."""
    sent = [plan for plan in plans if plan.fault is None]
    return sum(plan.fewest for plan in sent), sum(plan.most for plan in sent)
