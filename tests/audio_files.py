"""Real recordings of every container, made once a test run: encoded by FFmpeg's libraries, or by hand."""

import struct
import tempfile
from array import array
from functools import cache
from math import sin
from pathlib import Path
from typing import Any

import av

from watcher.audio.synthesis import wav

_RATE = 16000

# kind → container, codec, samples a second (null: 16,000), muxer's options
_ENCODED: dict[str, tuple[str, str, int | None, dict[str, str]]] = {
    "wav.stereo": ("wav", "pcm_s16le", None, {"channels": "2"}),
    "wav.float": ("wav", "pcm_f32le", None, {}),
    "wav.24bit": ("wav", "pcm_s24le", None, {}),
    "wav.mulaw": ("wav", "pcm_mulaw", 8000, {}),
    "wav.alaw": ("wav", "pcm_alaw", 8000, {}),
    "wav.ima": ("wav", "adpcm_ima_wav", 8000, {}),
    "wav.ms": ("wav", "adpcm_ms", 8000, {}),
    "wav.mp3": ("wav", "libmp3lame", None, {}),
    "wav.yamaha": ("wav", "adpcm_yamaha", 8000, {}),
    "wav.swf": ("wav", "adpcm_swf", 22050, {}),
    "wav.g722": ("wav", "g722", None, {}),
    "wav.rf64": ("wav", "pcm_s16le", None, {"rf64": "always"}),
    "mp3": ("mp3", "libmp3lame", None, {}),
    "mp3.tagged": ("mp3", "libmp3lame", None, {"write_id3v1": "1", "title": "a call"}),
    "mp3.bare": ("mp3", "libmp3lame", None, {"write_xing": "0", "id3v2_version": "0"}),
    "mp3.320": (
        "mp3",
        "libmp3lame",
        44100,
        {"channels": "2", "bit_rate": "320000", "write_xing": "0", "id3v2_version": "0"},
    ),
    "mp3.stereo": ("mp3", "libmp3lame", 44100, {"channels": "2"}),
    "mp3.8khz": ("mp3", "libmp3lame", 8000, {}),
    "mp3.vbr": ("mp3", "libmp3lame", 44100, {"quality": "5"}),
    "mp3.vbr.bare": ("mp3", "libmp3lame", 44100, {"quality": "5", "write_xing": "0"}),
    "mp2": ("mp2", "mp2", 44100, {}),
    "aac": ("adts", "aac", None, {}),
    "m4a": ("ipod", "aac", None, {}),
    "mp4": ("mp4", "aac", None, {}),
    "mp4.faststart": ("mp4", "aac", None, {"movflags": "faststart"}),
    "mp4.fragmented": (
        "mp4",
        "aac",
        None,
        {"movflags": "empty_moov+default_base_moof", "frag_duration": "200000"},
    ),
    "mp4.stereo": ("mp4", "aac", 44100, {"channels": "2"}),
    "mp4.unedited": ("mp4", "aac", None, {"use_editlist": "0"}),
    "mp4.alac": ("mp4", "alac", None, {}),
    "mp4.opus": ("mp4", "libopus", 48000, {}),
    "mp4.flac": ("mp4", "flac", None, {}),
    "mp4.split": ("mp4", "aac", None, {"movflags": "dash+global_sidx+delay_moov", "frag_duration": "200000"}),
    "mp4.live": (
        "mp4",
        "aac",
        None,
        {"movflags": "empty_moov+default_base_moof+skip_trailer", "frag_duration": "200000"},
    ),
    "3gp": ("3gp", "libopencore_amrnb", 8000, {"bit_rate": "12200"}),
    "3gp.aac": ("3gp", "aac", None, {}),
    "ogg.opus": ("ogg", "libopus", 48000, {}),
    "ogg.narrow": ("ogg", "libopus", 8000, {}),
    "ogg.vorbis": ("ogg", "vorbis", 44100, {"channels": "2"}),
    "ogg.flac": ("ogg", "flac", None, {}),
    "flac": ("flac", "flac", None, {}),
    "flac.stereo": ("flac", "flac", 44100, {"channels": "2"}),
    # what the service does not take, the first of them because their sound would have to be looked for
    "webm": ("webm", "libopus", 48000, {}),
    "matroska": ("matroska", "libopus", 48000, {}),
    "wma": ("asf", "wmav2", 44100, {"channels": "2", "bit_rate": "64000"}),
    "aiff": ("aiff", "pcm_s16be", None, {}),
    "au": ("au", "pcm_s16be", None, {}),
    "amr": ("amr", "libopencore_amrnb", 8000, {"bit_rate": "12200"}),
    "mov": ("mov", "aac", None, {}),
    "caf": ("caf", "pcm_s16be", None, {}),
    "wave64": ("w64", "pcm_s16le", None, {}),
    "webm.live": ("webm", "libopus", 48000, {"live": "1"}),
    "matroska.pcm": ("matroska", "pcm_s16le", 8000, {"channels": "2"}),
    "matroska.mp3": ("matroska", "libmp3lame", None, {}),
    "aifc.mulaw": ("aiff", "pcm_mulaw", 8000, {}),
    "au.mulaw": ("au", "pcm_mulaw", 8000, {}),
    "caf.alac": ("caf", "alac", None, {}),
    "caf.alaw": ("caf", "pcm_alaw", 8000, {"channels": "2"}),
    "mov.pcm": ("mov", "pcm_s16le", 8000, {}),
    "mov.faststart": ("mov", "aac", None, {"movflags": "faststart"}),
    "wave64.adpcm": ("w64", "adpcm_ms", 8000, {}),
    "flv": ("flv", "libmp3lame", 22050, {}),
    "ts": ("mpegts", "aac", None, {}),
    "avi": ("avi", "pcm_s16le", None, {}),
    "loas": ("latm", "aac", None, {}),
}

PROVABLE = (
    *("wav", "wav.gsm", "wav.extensible", "wav.odd", "wav.listed", "wav.stereo", "wav.float", "wav.24bit"),
    *("wav.mulaw", "wav.alaw", "wav.ima", "wav.ms", "wav.mp3", "wav.g722", "wav.rf64"),
    *("mp3", "mp3.tagged", "mp3.stereo", "mp3.8khz"),
    *("m4a", "mp4", "mp4.faststart", "mp4.fragmented", "3gp", "3gp.aac"),
    *("ogg.opus", "ogg.narrow", "ogg.vorbis", "ogg.flac", "flac", "flac.stereo"),
)
"""The kinds whose own lengths tell whether they are whole."""

UNPROVABLE = ("mp3.bare", "aac", "mp4.live")
"""The kinds that could always go on."""

ACCEPTED = (*PROVABLE, *UNPROVABLE)
REFUSED = ("ts", "avi", "loas")

FOREIGN_PROVABLE = (
    *(
        "webm",
        "matroska",
        "matroska.pcm",
        "matroska.mp3",
        "aiff",
        "aifc.mulaw",
        "au",
        "au.mulaw",
        "caf",
        "caf.alac",
    ),
    *("caf.alaw", "wave64", "wave64.adpcm", "mov", "mov.pcm", "mov.faststart"),
)
FOREIGN = (*FOREIGN_PROVABLE, "wma", "webm.live", "amr", "amr.wide", "flv")
"""What the service does not take, and what can be made acceptable."""


@cache
def recording(kind: str, seconds: float = 1.0) -> bytes:
    """A whole recording of one of the kinds above, with sound to its very end."""
    match kind:
        case "wav":
            return wav(seconds, seed=7)
        case "amr.wide":
            return b"#!AMR-WB\n" + (b"\x14" + _noise(32)) * round(50 * seconds)  # frames of 33 bytes
        case "wav.gsm":
            return _gsm(seconds)
        case "wav.extensible":
            return _extensible(seconds)
        case "wav.odd":
            return chunk(b"RIFF", b"WAVE" + _format(7, 8000, 8000, 1, 8) + chunk(b"data", _noise(8001)))
        case "wav.listed":
            whole = recording("wav", seconds)
            return chunk(b"RIFF", whole[8:] + chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"a recorder\0")))
    return _encoded(kind, seconds)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A RIFF chunk, padded to an even length."""
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


def box(kind: bytes, content: bytes = b"") -> bytes:
    """An MP4 box."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def _noise(count: int) -> bytes:
    return bytes(1 + at * at * 7 % 251 for at in range(count))


def _format(tag: int, rate: int, byte_rate: int, block: int, bits: int, extra: bytes = b"") -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHHH", tag, 1, rate, byte_rate, block, bits, len(extra)) + extra)


def _gsm(seconds: float) -> bytes:
    """As Asterisk writes an upper-case .WAV: 65 bytes for every 320 samples."""
    data = _noise(65 * max(1, round(seconds * 25)))
    samples = struct.pack("<I", len(data) // 65 * 320)
    head = _format(0x31, 8000, 1625, 65, 0, struct.pack("<H", 320)) + chunk(b"fact", samples)
    return chunk(b"RIFF", b"WAVE" + head + chunk(b"data", data))


def _extensible(seconds: float) -> bytes:
    plain = struct.pack("<H14s", 1, bytes.fromhex("000000001000800000aa00389b71"))
    head = _format(0xFFFE, 8000, 16000, 2, 16, struct.pack("<HI", 16, 4) + plain)
    return chunk(b"RIFF", b"WAVE" + head + chunk(b"data", _noise(2 * round(8000 * seconds))))


def _encoded(kind: str, seconds: float) -> bytes:
    container, codec, rate, settings = _ENCODED[kind]
    options = dict(settings)
    layout = "stereo" if options.pop("channels", "1") == "2" else "mono"
    bit_rate, title = options.pop("bit_rate", ""), options.pop("title", "")
    coder = {"strict": "-2"}
    if quality := options.pop("quality", ""):
        coder |= {"flags": "+qscale", "global_quality": str(int(quality) * 118)}
    with tempfile.NamedTemporaryFile() as sink:
        with av.open(sink.name, "w", format=container, options=options) as output:
            if title:
                output.metadata["title"] = title
            stream: Any = output.add_stream(codec, rate=rate or _RATE, layout=layout, options=coder)
            if bit_rate:
                stream.bit_rate = int(bit_rate)
            output.start_encoding()
            frames = _tone(seconds, rate or _RATE, layout, stream.codec_context) if seconds else []
            for frame in frames:
                output.mux(stream.encode(frame))
            if frames:  # else some encoders never end
                output.mux(stream.encode(None))
        return Path(sink.name).read_bytes()


@cache
def _warbled(count: int) -> "array[int]":
    return array("h", (int(9000 * sin(at * 0.11 + 3 * sin(at / 900))) + 1 for at in range(count)))


def _tone(seconds: float, rate: int, layout: str, context: Any) -> list[av.AudioFrame]:
    """A warbling tone, as frames that the codec takes."""
    channels = 2 if layout == "stereo" else 1
    count = round(seconds * rate)
    samples = _warbled(count)
    interleaved = array("h", bytes(2 * count * channels))
    for channel in range(channels):
        interleaved[channel::channels] = samples
    frame = av.AudioFrame(format="s16", layout=layout, samples=count)
    frame.planes[0].update(interleaved.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = rate
    frame.pts = 0
    resampler = av.AudioResampler(context.format, layout, rate, frame_size=context.frame_size or None)
    return [*resampler.resample(frame), *resampler.resample(None)]
