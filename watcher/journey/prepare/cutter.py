"""The makers of parts: a WAV is cut here, all else is the codec's."""

import os
from collections.abc import Mapping
from typing import BinaryIO

from watcher.audio.riff import find_blocks
from watcher.audio.source import Source
from watcher.domain import Mode
from watcher.errors import RecordingRefused
from watcher.journey.prepare import unsendable, wav_cut
from watcher.journey.prepare.codec import Codec, has_codec
from watcher.journey.prepare.made import Order, Outcome
from watcher.journey.prepare.makers import Maker
from watcher.journey.prepare.quiet import Levels, TooDense


class Cutter:
    """Cuts WAVs at their blocks. How loud ADPCM and GSM are, the codec tells where it is installed."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def make(self, file: BinaryIO, mode: Mode, order: Order, folder: int) -> Outcome:  # noqa: ARG002 — a Maker
        """Put the parts into the open folder. RecordingRefused; CodecDied; OSError of the folder."""
        size = file.seek(0, os.SEEK_END)
        blocks = find_blocks(Source(file, size))
        if blocks is None:
            raise RecordingRefused("undecodable", "Its blocks cannot be found.", hint="Export it again as WAV.")
        levels: Levels | None = None
        if blocks.form is None and order.spans is None and has_codec():
            facts, levels = self._codec.listen(file)
            if facts.has_sound is False:
                raise unsendable.no_sound()
        try:
            return wav_cut.cut(file, blocks, folder, order, levels)
        except TooDense as error:
            raise RecordingRefused(
                "too_large",
                f"One block of it alone is larger than {order.max_bytes:,} bytes.",
                hint="Raise limits.max_upload_bytes, or export it as PCM.",
            ) from error


class Recoder:
    """The codec; what cannot be copied after all, as only its packets tell, is encoded without loss."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def make(self, file: BinaryIO, mode: Mode, order: Order, folder: int) -> Outcome:
        """Put the parts into the open folder. RecordingRefused; CodecDied; OSError of the folder."""
        try:
            return self._codec.make(file, mode, order, folder)
        except RecordingRefused as error:
            if error.code != "no_copy":
                raise
            return self._codec.make(file, Mode.FLAC, order, folder)


def all_makers(codec: Codec) -> Mapping[Mode, Maker]:
    """Return who makes parts in each way."""
    recoder = Recoder(codec)
    return {Mode.CUT: Cutter(codec), Mode.REMUX: recoder, Mode.COPY: recoder, Mode.FLAC: recoder}
