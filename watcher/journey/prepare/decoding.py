"""Open a recording of any kind with FFmpeg's libraries: its packets, its samples. Only in the codec's child."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av
import av.error

from watcher.audio.raw import Raw
from watcher.journey.prepare.impossible import Refused, undecodable
from watcher.journey.prepare.quiet import WIDTHS

# What a recording may be. Nothing that names other files, or an address, is among them: no playlist.
_DEMUXERS = (
    "wav,w64,aiff,au,caf,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,asf,amr,amrnb,amrwb,mp3,aac,loas,ogg,flac,gsm,"
    "avi,mpegts,mpeg,ac3,eac3,dts,ape,wv,tta,mpc,mpc8,voc,nistsphere,g722,g729,s16le,s16be,mulaw,alaw,vag,sds,rm,dsf"
)
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none", "probesize": "5000000"}
_RAW = {"mulaw": "mulaw", "alaw": "alaw", "pcm": "s16le", "s16le": "s16le", "s16be": "s16be"}
_RAW |= {"gsm": "gsm", "g722": "g722", "g729": "g729"}
_SETS_NO_RATE = frozenset({"gsm", "g722", "g729"})
_BUFFER = 1 << 18
_MOST_CHANNELS = 8
_TOLERATED = 100  # one packet in so many may be damaged

# The decoder's sample format → packed, and in quiet's words
_FORMS = {
    "u8": ("s16", "s16"),
    "s16": ("s16", "s16"),
    "s32": ("s32", "s24"),
    "flt": ("flt", "f32"),
    "dbl": ("dbl", "f64"),
}


def decoder_name(codec: str) -> str:
    """Return which program decoded, or took apart: a proof holds for this one."""
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"PyAV {av.__version__}, libavcodec {version} ({codec})"


@dataclass(slots=True)
class Opened:
    """A recording whose best sound is read from the beginning, once."""

    container: "av.container.InputContainer"
    stream: "av.AudioStream"
    damaged: int = 0
    packets: int = 0
    form: str = ""  # of the samples, once some were decoded
    rate: int = 0
    channels: int = 0

    @property
    def codec(self) -> str:
        return self.stream.codec_context.codec.canonical_name

    @property
    def demuxer(self) -> str:
        return self.container.format.name

    def close(self) -> None:
        self.container.close()

    def copied(self) -> "Iterator[av.Packet[av.AudioStream]]":
        """Yield the packets as they are, none of them empty."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    self.packets += 1
                    yield packet
        except av.error.FFmpegError as error:
            if not self.packets:
                raise undecodable(str(error)) from error

    def samples(self) -> Iterator[bytes]:
        """Yield interleaved little-endian samples in `form`, some at a time.

        Whole numbers stay what they are. What a lossy codec computes as fractions is rounded to 16 bits, more than
        speech has; fractions that were recorded as such stay so.
        """
        resampler: av.AudioResampler | None = None
        for frame in self._frames():
            if resampler is None:
                resampler = self._resampler(frame)
            elif (frame.sample_rate, len(frame.layout.channels)) != (self.rate, self.channels):
                raise Refused(
                    "undecodable",
                    f"Its rate or channels change on the way ({self.rate} Hz, later {frame.sample_rate} Hz).",
                    "Convert it to a WAV of one rate, and drop that.",
                )
            try:
                for packed in resampler.resample(frame):
                    yield self._bytes_of(packed)
            except ValueError as error:
                raise undecodable(str(error)) from error
        if self.damaged * _TOLERATED > self.packets or not self.form:
            raise undecodable(f"{self.damaged:,} of {self.packets:,} packets cannot be decoded")

    def _frames(self) -> "Iterator[av.AudioFrame]":
        try:
            for packet in self.container.demux(self.stream):
                self.packets += 1 if packet.size else 0
                try:
                    yield from self.stream.decode(packet)
                except av.error.FFmpegError:
                    self.damaged += 1
        except av.error.FFmpegError as error:  # of the container: what was there before it counts
            self.damaged += 1
            if not self.form:
                raise undecodable(str(error)) from error

    def _resampler(self, frame: "av.AudioFrame") -> "av.AudioResampler":
        self.rate, self.channels = frame.sample_rate, len(frame.layout.channels)
        if not 0 < self.channels <= _MOST_CHANNELS or not self.rate:
            raise Refused("undecodable", f"It has {self.channels} channels at {self.rate} Hz.", "")
        packed, self.form = _FORMS.get(frame.format.packed.name, ("", ""))
        if self.form in ("f32", "f64") and not self.codec.startswith("pcm_"):
            packed, self.form = "s16", "s16"
        if not self.form:
            raise undecodable(f"its samples are of the kind {frame.format.name}")
        if self.form == "s24" and self.codec.startswith("pcm_s32"):
            self.form = "s32"
        return av.AudioResampler(format=packed, layout=frame.layout, rate=frame.sample_rate)

    def _bytes_of(self, frame: "av.AudioFrame") -> bytes:
        width = 4 if self.form == "s24" else WIDTHS[self.form]
        data = memoryview(frame.planes[0])[: frame.samples * self.channels * width]
        return narrowed(bytes(data)) if self.form == "s24" else bytes(data)


def opened(file: BinaryIO, raw: Raw | None = None) -> Opened:
    """Open the recording from its beginning; `raw` says what a headerless one is. Refused where nothing can."""
    file.seek(0)
    options, demuxer = dict(_OPTIONS), None
    if raw is not None:
        demuxer = _RAW.get(raw.codec)
        if demuxer is None:
            raise Refused("undecodable", f"Headerless {raw.codec} cannot be read.", "Have the recorder write WAV.")
        if demuxer not in _SETS_NO_RATE:
            options |= {"sample_rate": str(raw.rate), "ch_layout": f"{raw.channels}C"}
    try:
        container = av.open(file, "r", format=demuxer, options=options, buffer_size=_BUFFER)
        stream = container.streams.best("audio")
    except (av.error.FFmpegError, ValueError) as error:
        raise undecodable(str(error)) from error
    if not isinstance(stream, av.AudioStream):
        container.close()
        raise Refused("no_sound", "There is no sound in it.", "")
    stream.codec_context.thread_count = 1
    return Opened(container, stream)


def narrowed(samples: bytes) -> bytes:
    """Return samples of 32 bits as 24; Refused where the lowest byte is used."""
    if samples[0::4].strip(b"\0"):
        raise Refused("lossless_impossible", "Its samples have 32 bits, which FLAC cannot hold without loss.", "")
    packed = bytearray(len(samples) // 4 * 3)
    packed[0::3], packed[1::3], packed[2::3] = samples[1::4], samples[2::4], samples[3::4]
    return bytes(packed)


def widened(samples: bytes) -> bytes:
    """Return samples of 24 bits as 32."""
    unpacked = bytearray(len(samples) // 3 * 4)
    unpacked[1::4], unpacked[2::4], unpacked[3::4] = samples[0::3], samples[1::3], samples[2::3]
    return bytes(unpacked)
