"""Recordings by every writer that can be had here, for comparing our judgement with a full decode.

FFmpeg's muxers through PyAV, libsndfile through soundfile, sox, and Python's wave; where sox is not installed its
recordings are left out.
"""

import io
import shutil
import subprocess
import tempfile
import wave
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import pi, sin
from pathlib import Path
from typing import Any

import av
import soundfile


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which one program writes a recording."""

    writer: str
    container: str  # the program's word for it
    codec: str
    rate: int = 8000
    channels: int = 1
    options: tuple[tuple[str, str], ...] = ()
    piped: bool = False  # written where the program cannot seek back

    def __str__(self) -> str:
        extra = "".join(f" {key}={value}" for key, value in self.options)
        pipe = " piped" if self.piped else ""
        return f"{self.writer}:{self.container}/{self.codec} {self.rate}x{self.channels}{extra}{pipe}"


def _kinds_of(
    writer: str, container: str, codecs: str, *shapes: tuple[int, int], **options: str
) -> Iterator[Kind]:
    for codec in codecs.split():
        for rate, channels in shapes or ((8000, 1),):
            yield Kind(writer, container, codec, rate, channels, tuple(options.items()))


_PHONE, _WIDE, _DISC = (8000, 1), (16000, 2), (44100, 2)


def kinds() -> list[Kind]:
    """Every kind, in a fixed order."""
    return [*_ffmpeg(), *_libsndfile(), *_sox(), *_python()]


def _ffmpeg() -> Iterator[Kind]:
    yield from _ffmpeg_wav()
    yield from _ffmpeg_frames()
    yield from _ffmpeg_mp4()
    yield from _ffmpeg_ogg()


def foreign_kinds() -> list[Kind]:
    """Every kind that the service does not take, and that can be made acceptable, in a fixed order."""
    return [*_foreign_by_ffmpeg(), *_foreign_by_libsndfile(), *_foreign_by_sox()]


def _by_muxer(container: str, codecs: str, *shapes: tuple[int, int], **options: str) -> Iterator[Kind]:
    return _kinds_of("ffmpeg", container, codecs, *shapes, **options)


def _ffmpeg_wav() -> Iterator[Kind]:
    yield from _by_muxer(
        "wav", "pcm_u8 pcm_s16le pcm_s24le pcm_s32le pcm_f32le pcm_f64le pcm_mulaw pcm_alaw", _PHONE, _DISC
    )
    yield from _by_muxer("wav", "adpcm_ima_wav adpcm_ms adpcm_yamaha", _PHONE, (22050, 2))
    yield from _by_muxer("wav", "adpcm_swf", (22050, 2))
    yield from _by_muxer("wav", "g722", (16000, 1))
    yield from _by_muxer("wav", "g726 g723_1", _PHONE)
    yield from _by_muxer("wav", "libmp3lame mp2", _WIDE, (44100, 1))
    yield from _by_muxer("wav", "ac3", _DISC)
    yield from _by_muxer("wav", "wmav2", _DISC)
    yield from _by_muxer("wav", "pcm_s16le", _PHONE, rf64="always")
    yield from _by_muxer("wav", "pcm_s16le", _WIDE, rf64="auto")
    yield from _by_muxer("wav", "pcm_s16le", _PHONE, write_bext="1", title="x")
    yield from _by_muxer("wav", "pcm_s16le", _PHONE, write_peak="on")
    yield from (Kind("ffmpeg", "wav", codec, piped=True) for codec in ("pcm_s16le", "pcm_mulaw", "adpcm_ima_wav"))


def _ffmpeg_frames() -> Iterator[Kind]:
    mpeg_shapes = ((8000, 1), (11025, 1), (16000, 2), (22050, 1), (24000, 2), (32000, 1), (44100, 2), (48000, 1))
    yield from _by_muxer("mp3", "libmp3lame", *mpeg_shapes)
    yield from _by_muxer("mp3", "libmp3lame", _PHONE, _DISC, write_xing="0", id3v2_version="0")
    yield from _by_muxer("mp3", "libmp3lame", _PHONE, _DISC, write_id3v1="1", title="x")
    yield from _by_muxer("mp3", "libmp3lame", _PHONE, _DISC, q="4")
    yield from _by_muxer("mp3", "libmp3lame", _PHONE, _DISC, q="4", write_xing="0")
    yield from _by_muxer("mp3", "libmp3lame", _DISC, abr="1", b="96000")
    yield from _by_muxer("mp2", "mp2", (16000, 1), _DISC)
    yield Kind("ffmpeg", "mp3", "libmp3lame", piped=True)

    yield from _by_muxer("adts", "aac", _PHONE, _WIDE, _DISC)
    yield from _by_muxer("adts", "aac", (48000, 1), write_id3v2="1", title="x")
    yield from _by_muxer("adts", "aac", (48000, 1), write_apetag="1", title="x")


def _ffmpeg_mp4() -> Iterator[Kind]:
    yield from _by_muxer("mp4", "aac alac flac", _PHONE, _DISC)
    yield from _by_muxer("mp4", "libopus", (48000, 1))
    yield from _by_muxer("mp4", "libmp3lame ac3", _DISC)
    yield from _by_muxer("mp4", "pcm_s16le", _DISC)
    yield from _by_muxer("mp4", "aac", _WIDE, movflags="faststart")
    yield from _by_muxer("mp4", "aac", _WIDE, use_editlist="0")
    yield from _by_muxer("mp4", "aac", _WIDE, movflags="empty_moov+default_base_moof", frag_duration="500000")
    yield from _by_muxer("mp4", "aac", _WIDE, movflags="empty_moov", frag_duration="500000")
    yield from _by_muxer("mp4", "aac", _WIDE, movflags="frag_keyframe+delay_moov", frag_duration="500000")
    yield from _by_muxer("mp4", "aac", _WIDE, movflags="dash+global_sidx+delay_moov", frag_duration="500000")
    yield from _by_muxer("mp4", "aac", _WIDE, movflags="cmaf", frag_duration="500000")
    yield from _by_muxer("mp4", "aac", _WIDE, movflags="hybrid_fragmented", frag_duration="500000")
    yield from _by_muxer(
        "mp4", "aac", _WIDE, movflags="empty_moov+default_base_moof+skip_trailer", frag_duration="500000"
    )
    yield from _by_muxer("ipod", "aac alac", _PHONE, _DISC)
    yield from _by_muxer("ipod", "aac", _WIDE, movflags="faststart", title="x")
    yield from _by_muxer("3gp", "libopencore_amrnb aac", _PHONE)
    yield from _by_muxer("3g2", "libopencore_amrnb aac", _PHONE)
    yield from _by_muxer("3gp", "libopencore_amrnb", _PHONE, movflags="faststart")
    yield from _by_muxer("ismv", "aac", _DISC)
    yield from _by_muxer("f4v", "aac", _DISC)


def _ffmpeg_ogg() -> Iterator[Kind]:
    yield from _by_muxer("ogg", "libopus", (48000, 1), (48000, 2), (8000, 1), (16000, 1))
    yield from _by_muxer("ogg", "libopus", (48000, 1), page_duration="200000")
    yield from _by_muxer("opus", "libopus", (48000, 1))
    yield from _by_muxer("ogg", "vorbis", (16000, 2), _DISC)
    yield from _by_muxer("ogg", "flac", _PHONE, _DISC)
    yield from _by_muxer("oga", "flac", _PHONE)
    yield Kind("ffmpeg", "ogg", "libopus", 48000, piped=True)

    yield from _by_muxer("flac", "flac", _PHONE, _WIDE, _DISC, (96000, 1))
    yield from _by_muxer("flac", "flac", _PHONE, sample_fmt="s32")
    yield from _by_muxer("flac", "flac", _PHONE, frame_size="1152")
    yield Kind("ffmpeg", "flac", "flac", piped=True)


def _foreign_by_ffmpeg() -> Iterator[Kind]:
    yield from _by_muxer(
        "aiff", "pcm_s8 pcm_s16be pcm_s24be pcm_s32be pcm_f32be pcm_mulaw pcm_alaw", _PHONE, _DISC
    )
    yield from _by_muxer("aiff", "adpcm_ima_qt", _PHONE)
    yield from _by_muxer("au", "pcm_s8 pcm_s16be pcm_s24be pcm_f32be pcm_f64be pcm_mulaw pcm_alaw", _PHONE, _DISC)
    yield from _by_muxer("w64", "pcm_u8 pcm_s16le pcm_s24le pcm_f32le pcm_mulaw pcm_alaw adpcm_ms", _PHONE, _DISC)
    yield from _by_muxer("caf", "pcm_s16be pcm_s16le pcm_s24be pcm_f32be pcm_mulaw pcm_alaw alac", _PHONE, _DISC)
    yield from _by_muxer("amr", "libopencore_amrnb", _PHONE)
    yield from _by_muxer("asf", "wmav2", (22050, 1), _DISC)
    yield from _by_muxer("asf", "libmp3lame pcm_s16le", _DISC)
    yield from _by_muxer("webm", "libopus", (48000, 1), (8000, 1), (48000, 2))
    yield from _by_muxer("webm", "vorbis", _DISC)
    yield from _by_muxer("webm", "libopus", (48000, 1), live="1")
    yield from _by_muxer("webm", "libopus", (48000, 1), dash="1")
    yield from _by_muxer("matroska", "libopus", (48000, 1), cluster_time_limit="200")
    yield from _by_muxer("matroska", "pcm_s16le pcm_s16be pcm_f32le aac flac libmp3lame alac ac3", _DISC)
    yield from _by_muxer("matroska", "vorbis", _DISC, reserve_index_space="4000")
    yield from _by_muxer("mov", "pcm_s16le pcm_s16be pcm_mulaw pcm_alaw aac alac libmp3lame", _DISC)
    yield from _by_muxer("mov", "pcm_s16le aac", _PHONE)
    yield from _by_muxer("mov", "aac", _WIDE, movflags="faststart")
    yield from _by_muxer("mov", "aac", _WIDE, movflags="empty_moov", frag_duration="500000")
    yield from _by_muxer("flv", "libmp3lame aac", (22050, 1), _DISC)
    yield Kind("ffmpeg", "matroska", "libopus", 48000, piped=True)
    yield Kind("ffmpeg", "webm", "libopus", 48000, piped=True)
    yield Kind("ffmpeg", "au", "pcm_mulaw", piped=True)


def _foreign_by_libsndfile() -> Iterator[Kind]:
    def of(container: str, codecs: str, *shapes: tuple[int, int]) -> Iterator[Kind]:
        return _kinds_of("libsndfile", container, codecs, *shapes)

    yield from of("AIFF", "PCM_S8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW", _PHONE, _DISC)
    yield from of("AIFF", "IMA_ADPCM", _PHONE, _DISC)
    yield from of("AIFF", "GSM610", _PHONE)
    yield from of("AU", "PCM_S8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW", _PHONE, _DISC)
    yield from of("AU", "G721_32", _PHONE)
    yield from of("W64", "PCM_U8 PCM_16 PCM_24 FLOAT ULAW ALAW IMA_ADPCM MS_ADPCM", _PHONE, _DISC)
    yield from of("W64", "GSM610", _PHONE)
    yield from of("CAF", "PCM_16 PCM_24 FLOAT ULAW ALAW ALAC_16", _PHONE, _DISC)


def _foreign_by_sox() -> Iterator[Kind]:
    if shutil.which("sox") is None:
        return
    for container in ("aiff", "aifc", "au", "caf", "w64"):
        yield from _kinds_of("sox", container, "", _PHONE, _DISC)
    yield from _kinds_of("sox", "au", "mu-law a-law", _PHONE)
    yield from _kinds_of("sox", "w64", "mu-law gsm-full-rate", _PHONE)
    yield from (Kind("sox", container, "", piped=True) for container in ("aiff", "au"))


def _libsndfile() -> Iterator[Kind]:
    def of(container: str, codecs: str, *shapes: tuple[int, int]) -> Iterator[Kind]:
        return _kinds_of("libsndfile", container, codecs, *shapes)

    yield from of("WAV", "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW", _PHONE, _DISC)
    yield from of("WAV", "IMA_ADPCM MS_ADPCM", _PHONE, _DISC)
    yield from of("WAV", "GSM610 G721_32", _PHONE)
    yield from of("WAVEX", "PCM_16 FLOAT ULAW ALAW", _PHONE, _DISC)
    yield from of("RF64", "PCM_16 FLOAT ULAW", _PHONE, _DISC)
    yield from of("FLAC", "PCM_S8 PCM_16 PCM_24", _PHONE, _DISC)
    yield from of("OGG", "VORBIS", _PHONE, _DISC)
    yield from of("OGG", "OPUS", _PHONE, (48000, 2))
    yield from of("MP3", "MPEG_LAYER_III", _PHONE, (16000, 1), _DISC)


def _sox() -> Iterator[Kind]:
    def of(container: str, codecs: str, *shapes: tuple[int, int]) -> Iterator[Kind]:
        return _kinds_of("sox", container, codecs, *shapes)

    if shutil.which("sox") is None:
        return
    yield from of("wav", "signed-integer unsigned-integer floating-point mu-law a-law", _PHONE, _WIDE)
    yield from of("wav", "ima-adpcm ms-adpcm", _PHONE, _WIDE)
    yield from of("wav", "gsm-full-rate", _PHONE)
    yield from of("wavpcm", "signed-integer", _PHONE, _WIDE)
    yield from of("mp3", "", (16000, 1), _DISC)
    yield from of("flac", "", _PHONE, _DISC)
    yield from of("ogg", "", _PHONE, _DISC)
    yield from (Kind("sox", container, "", piped=True) for container in ("wav", "flac", "ogg"))


def _python() -> Iterator[Kind]:
    yield from _kinds_of("wave", "wav", "1 2 3 4", _PHONE, _DISC)
    yield Kind("wave", "wav", "2", piped=True)


@cache
def made(kind: Kind, seconds: float) -> bytes | None:
    """A recording of that kind; null where its program cannot make one so short."""
    write = {"ffmpeg": _by_ffmpeg, "libsndfile": _by_libsndfile, "sox": _by_sox, "wave": _by_wave}[kind.writer]
    return write(kind, seconds) or None


@cache
def _sound(rate: int, channels: int, seconds: float) -> bytes:
    """A warbling tone as 16-bit PCM, each channel for itself, with sound to its very end."""
    count = round(rate * seconds)
    period = [
        int(6000 * sin(2 * pi * 5 * at / 4001) + 3000 * sin(2 * pi * 457 * at / 4001)) + 7 for at in range(4001)
    ]
    samples = array("h", bytes(2 * count * channels))
    for channel in range(channels):
        shifted = period[channel * 61 :] + period[: channel * 61]
        samples[channel::channels] = array("h", (shifted * (count // 4001 + 1))[:count])
    return samples.tobytes()


class _Pipe(io.RawIOBase):
    """A sink that cannot seek."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.taken += data
        return len(data)


def _by_ffmpeg(kind: Kind, seconds: float) -> bytes:
    options = dict(kind.options)
    if not seconds and options.get("movflags") == "hybrid_fragmented":
        return b""  # this muxer crashes
    title, quality = options.pop("title", ""), options.pop("q", "")
    coder = {"strict": "-2"} | {key: options.pop(key) for key in ("abr", "b", "frame_size") if key in options}
    sample_fmt = options.pop("sample_fmt", "")
    layout = "stereo" if kind.channels == 2 else "mono"
    with tempfile.TemporaryDirectory() as folder:
        name = f"{folder}/made"
        pipe = _Pipe()
        sink: Any = pipe if kind.piped else name
        with av.open(sink, "w", format=kind.container, options=options) as output:
            if title:
                output.metadata["title"] = title
            if quality:
                coder["global_quality"] = str(int(quality) * 118)
                coder["flags"] = "+qscale"
            stream: Any = output.add_stream(kind.codec, rate=kind.rate, layout=layout, options=coder)
            if sample_fmt:
                stream.format = sample_fmt
            if kind.codec in ("libopencore_amrnb", "g723_1"):
                stream.bit_rate = 12200 if kind.codec != "g723_1" else 6300
            if kind.codec == "wmav2":
                stream.bit_rate = 64000
            output.start_encoding()
            frames = _frames(kind, seconds, layout, stream.codec_context)
            for frame in frames:
                output.mux(stream.encode(frame))
            if frames:  # else FFmpeg's own Vorbis encoder never ends
                output.mux(stream.encode(None))
        return bytes(pipe.taken) if kind.piped else Path(name).read_bytes()


def _frames(kind: Kind, seconds: float, layout: str, context: Any) -> list[av.AudioFrame]:
    sound = _sound(kind.rate, kind.channels, seconds)
    count = len(sound) // 2 // kind.channels
    if not count:
        return []
    frame = av.AudioFrame(format="s16", layout=layout, samples=count)
    frame.planes[0].update(sound.ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = kind.rate
    frame.pts = 0
    resampler = av.AudioResampler(context.format, layout, kind.rate, frame_size=context.frame_size or 1024)
    return [*resampler.resample(frame), *resampler.resample(None)]


def _by_libsndfile(kind: Kind, seconds: float) -> bytes:
    sink = io.BytesIO()
    with soundfile.SoundFile(
        sink, "w", kind.rate, kind.channels, subtype=kind.codec, format=kind.container
    ) as output:
        sound, step = _sound(kind.rate, kind.channels, seconds), 2 * kind.channels * kind.rate
        for at in range(0, len(sound), step):  # a second at a time: a minute at once overflows its Vorbis encoder
            output.buffer_write(sound[at : at + step], "int16")
    return sink.getvalue()


def _by_sox(kind: Kind, seconds: float) -> bytes:
    raw = ["-t", "raw", "-e", "signed-integer", "-b", "16", "-r", str(kind.rate), "-c", str(kind.channels), "-"]
    coding = ["-e", kind.codec] if kind.codec else []
    if kind.codec == "floating-point":
        coding += ["-b", "32"]
    with tempfile.TemporaryDirectory() as folder:
        target = "-" if kind.piped else f"{folder}/made"
        done = subprocess.run(
            ["sox", "-V0", "-D", *raw, *coding, "-t", kind.container, target],
            input=_sound(kind.rate, kind.channels, seconds),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            return b""
        return done.stdout if kind.piped else Path(target).read_bytes()


def _by_wave(kind: Kind, seconds: float) -> bytes:
    width = int(kind.codec)
    sound = array("h", _sound(kind.rate, kind.channels, seconds))
    shift = 8 * (width - 2)
    wide = b"".join(
        ((value >> 8) + 128).to_bytes(1, "little")
        if width == 1
        else (value << shift).to_bytes(width, "little", signed=True)
        for value in sound
    )
    sink: Any = _Pipe() if kind.piped else io.BytesIO()
    with wave.open(sink, "wb") as output:
        output.setnchannels(kind.channels)
        output.setsampwidth(width)
        output.setframerate(kind.rate)
        if kind.piped:
            output.setnframes(len(sound) // kind.channels)
        output.writeframesraw(wide)
    return bytes(sink.taken) if kind.piped else sink.getvalue()
