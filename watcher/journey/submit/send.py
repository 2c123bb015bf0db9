"""The second part of a submission: the upload. Its last part is sent only once that is committed."""

import threading
from typing import BinaryIO

from watcher import logs
from watcher.domain import Charged, Item, Part
from watcher.errors import RecordingStumbled, Unanswered, WatcherError
from watcher.identifai.client import Accepted, Client
from watcher.identifai.upload import Upload
from watcher.journey.site import Site
from watcher.journey.submit import policy
from watcher.journey.submit.claim import Claim
from watcher.journey.submit.start import upload_bytes
from watcher.journey.submit.windows import Windows
from watcher.text import show_path

_log = logs.get_logger(__name__)


class Stopped(WatcherError):
    """The upload was cut off because the daemon stops or submitting was paused."""

    code = "stopped"


class Uploads:
    """Sends what is claimed. Whoever holds `turn` waits for the rate windows, all but its last part sent."""

    def __init__(
        self, site: Site, client: Client, windows: Windows, stopping: threading.Event, turn: threading.Lock
    ) -> None:
        self._site = site
        self._client = client
        self._windows = windows
        self._stopping = stopping
        self._turn = turn

    def send(self, claim: Claim, file: BinaryIO) -> Accepted | WatcherError:
        """Return the answer, or why there is none. It must be recorded before anything else is done."""
        answer: Accepted | WatcherError
        try:
            upload = self._upload(claim.item, claim.part, file, no_cache=claim.no_cache)
            answer = self._client.submit(upload, lambda: self._release(claim))
        except WatcherError as error:
            answer = error
        except Exception as error:  # noqa: BLE001 — unexpected; whether it may have been charged is known all the same
            _log.exception("upload.failed", item=claim.item.id)
            answer = RecordingStumbled(error)
            if claim.released_at is not None:
                answer = Unanswered(f"The upload ended in {type(error).__name__}", charged=Charged.UNKNOWN)
        return answer

    def _upload(self, item: Item, part: Part | None, file: BinaryIO, *, no_cache: bool) -> Upload:
        """Return what is sent. A part is named after its recording, with its number."""
        service, sent = self._site.config.identifai, item if part is None else part
        number = "" if part is None else f"-{part.index}"
        folder, _, name = show_path(item.path).rpartition("/")
        stem, digest = name.rpartition(".")[0] or name, item.sha256 or ""
        ref_id = service.ref_id.format(id=item.id, stem=stem, folder=folder, sha256=digest)
        fields = {"ref_id": f"{ref_id}{number}" if ref_id else ""}
        fields |= {"webhook_url": service.webhook_url}
        fields |= {"no_cache": "true"} if no_cache else {}
        fields |= {"prevent_c2pa_forces": "true"} if service.prevent_c2pa_forces else {}
        return Upload(
            file=file,
            size=upload_bytes(item, part),
            sha256=sent.sha256 or "",
            filename=f"{item.id if service.upload_name == 'id' else stem}{number}{sent.extension or ''}",
            media_type=sent.media_type or "",
            fields={name: value for name, value in fields.items() if value},
        )

    def _release(self, claim: Claim) -> None:
        """Wait for room in the rate windows, and commit that the last part is sent now.

        Raises Stopped, or StaleItem where somebody else has decided on the item: then the body is cut off.
        """
        clock = self._site.clock
        self._windows.travelled(upload_bytes(claim.item, claim.part), clock.now() - claim.started_at)
        # One upload waits for room at a time. If whoever asked first got the room, an unlucky one might hold its
        # body back for so long that the service gives up on it.
        with self._turn:
            place = None
            while not self._stopping.is_set():
                now = clock.now()
                # One transaction decides and grants, alone among all nodes, and only while this one has its lease.
                with self._site.store.writing() as books:
                    if not policy.may_be_sent(books.pauses.active(), now, canary=claim.canary):
                        raise Stopped("submitting was paused meanwhile")
                    room, rate_event = self._windows.room(books, now, place), None
                    if room.is_there:
                        books.ledger.release(claim.number, claim.item, room.now)
                        rate_event = self._windows.count(books, place, room.now)
                        if (
                            books.is_shared
                        ):  # the commit may be done though it fails: then the end is recorded, too
                            claim.rate_event = rate_event
                    else:
                        place = self._windows.wait(books, place, room)
                if room.is_there:  # outside the transaction: only what is committed counts
                    claim.released_at, claim.rate_event = room.now, rate_event
                    return
                clock.wait(room.wait, self._stopping)
        raise Stopped("the daemon stops")
