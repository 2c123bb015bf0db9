"""Look into a candidate: its content, whether it is open, its companions; and so whether it is whole."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from watcher.audio import Examination
from watcher.errors import FolderError, RecordingChanged, RecordingGone, RecordingUnreachable
from watcher.folders import is_being_written
from watcher.journey.arrive.candidate import Candidate
from watcher.journey.arrive.companions import ORPHANED, stem_of
from watcher.journey.arrive.foreign import FOREIGN, SURE_SECONDS, Looks, find_raw, is_left, may_be_left
from watcher.journey.arrive.hints import Hints
from watcher.journey.arrive.openings import Openings
from watcher.journey.arrive.reach import Reach
from watcher.journey.arrive.registry import Registry, Settled
from watcher.journey.arrive.settle import Evidence, Judgement
from watcher.journey.arrive.strays import RECEIPT, clear_receipt, find_receipt
from watcher.journey.prepare.plan import may_be_sent
from watcher.journey.site import Site
from watcher.text import show_path


class Look:
    """Judges candidates, one at a time. What is whole is settled in the registry."""

    def __init__(
        self,
        site: Site,
        registry: Registry,
        openings: Openings,
        hints: Hints,
        reach: Reach,
        look_again: Callable[[bytes], None],
    ) -> None:
        """`look_again`: looks anew at what is at a path."""
        self._site = site
        self._registry = registry
        self._openings = openings
        self._hints = hints
        self._reach = reach
        self._look_again = look_again
        self._companions = registry.companions
        self._looks = Looks()
        self._lonely: defaultdict[bytes, set[bytes]] = defaultdict(set)  # by stem: waiting for a sidecar

    def judge(self, candidate: Candidate, *, is_attended: bool) -> None:
        """`is_attended`: see Openings.attend."""
        path, clock = candidate.path, self._site.clock
        is_companion = self._companions.is_one(path)
        try:
            # Ask what was heard before we open the file: our own open is heard too.
            heard = self._openings.is_open(path, clock.monotonic())
            is_heard_out = is_attended and not self._hints.is_in_doubt  # last: what was lost is forgotten after it
            elsewhere = self._reach.part(path).elsewhere
            evidence = Evidence(heard_open=heard, is_heard_out=is_heard_out, elsewhere=elsewhere)
            self._check_unchanged(candidate)
            with self._registry.lock:
                if self._registry.settler.waits_on(candidate, evidence, clock.now(), clock.monotonic()):
                    return
            look = self._look_at_companion if is_companion else self._look_into
            evidence = look(candidate, evidence)
        except RecordingGone:
            with self._registry.lock:
                self._registry.lose(path)
            return
        except RecordingChanged:
            self._look_again(path)
            return
        except (RecordingUnreachable, FolderError) as error:
            code, reason = error.code, f"{error.message}; {error.hint}"
            if isinstance(error, RecordingUnreachable) and may_be_left(self._site.config, path):
                code, reason = FOREIGN, f"is not a recording by its name, and its content is unknown: {reason}"
            with self._registry.lock:
                self._registry.settler.wait(candidate, code, reason, clock.now(), clock.monotonic())
            return
        markers, strangers = self._find_markers(path)
        receipt_of = find_receipt(self._site, path)
        remains = receipt_of and clear_receipt(self._site, path, candidate.fingerprint, receipt_of)
        with self._registry.lock:
            now, monotonic = clock.now(), clock.monotonic()
            if remains:
                self._registry.settler.wait(candidate, RECEIPT, remains, now, monotonic)
            elif remains is not None:
                self._registry.settler.forget(path)
            elif is_companion:
                self._judge_companion(candidate, evidence, now, monotonic)
            elif evidence.is_foreign:
                reason = "is not a recording, by its name or its content: it is left where it is"
                self._registry.settler.leave(candidate, FOREIGN, reason, now)
            else:
                evidence = replace(evidence, is_announced=bool(markers))
                self._judge_recording(candidate, evidence, markers, strangers, now, monotonic)

    def _judge_recording(
        self,
        candidate: Candidate,
        evidence: Evidence,
        markers: list[bytes],
        strangers: list[bytes],
        now: float,
        monotonic: float,
    ) -> None:
        path = candidate.path
        sidecars = self._registry.waiting_beside(self._companions.sidecars_of(path), stem_of(path))
        judgement = self._registry.settler.judge(candidate, evidence, now, monotonic)
        if judgement is Judgement.READY and self._is_alone(candidate, markers, sidecars):
            reason = f"waits for {self._companions.awaited()}"
            if strangers:
                reason += f"; {show_path(strangers[0])} does not count: it has a different owner"
            self._registry.settler.wait(candidate, "companion_missing", reason, now, monotonic)
            self._lonely[stem_of(path)].add(path)
        elif judgement is not Judgement.WAIT:
            companions = (*markers, *sidecars)
            candidate.is_settled = True
            self._registry.settled.append(Settled(path, candidate.fingerprint, candidate.first_seen, companions))

    def _find_markers(self, path: bytes) -> tuple[list[bytes], list[bytes]]:
        """Return the recording's markers from its owner, and those from others, which do not count."""
        with self._registry.lock:
            found = self._registry.waiting_beside(self._companions.markers_of(path), path)
        if not found:
            return [], []
        try:
            owner = self._site.drop.owner(path)
            is_owners = {name: self._site.drop.owner(name) == owner for name in found}
        except (RecordingGone, RecordingUnreachable, FolderError):
            return [], []  # the next look finds out
        return [name for name in found if is_owners[name]], [name for name in found if not is_owners[name]]

    def _is_alone(self, candidate: Candidate, markers: list[bytes], sidecars: list[bytes]) -> bool:
        """Return whether it lacks a companion. This queries the database: ask only about what is whole itself."""
        if self._companions.marker and not markers:
            return True
        if not self._companions.sidecars or any(map(self._registry.settler.is_settled, sidecars)):
            return False
        return not self._shares_sidecar(candidate)

    def _shares_sidecar(self, candidate: Candidate) -> bool:
        """Return whether its sidecar moved with another recording of the same stem while this one was there too.

        A recording that comes after the other was filed waits for a sidecar of its own.
        """
        stem = stem_of(candidate.path)
        sidecars = {name.lower() for name in self._companions.sidecars_of(candidate.path)}
        with self._site.store.reading() as books:
            others = books.items.accompanied(stem)
        return any(
            other.path != candidate.path
            and stem_of(other.path) == stem
            and not sidecars.isdisjoint(companion.lower() for companion in other.companions)
            and (other.filed_at is None or candidate.fingerprint.ctime_ns / 1e9 <= other.filed_at)
            for other in others
        )

    def _judge_companion(self, candidate: Candidate, evidence: Evidence, now: float, monotonic: float) -> None:
        """Judge a marker, which counts at once, or a sidecar, once it is whole; look at what waits for it."""
        path = candidate.path
        marked = self._companions.recording_of(path)
        if marked is None:
            if self._registry.settler.judge_quiet(candidate, evidence, now, monotonic) is Judgement.WAIT:
                return
            candidate.is_settled = True
        self._registry.settler.wait(candidate, ORPHANED, "waits for its recording", now, monotonic)
        stems = [stem_of(path)] if marked else self._companions.stems_of(path)
        lonely = {recording for stem in stems for recording in self._lonely.pop(stem, ())}
        for recording in lonely if marked is None else lonely | {marked}:
            self._registry.settler.look_now(recording, monotonic)

    def _look_at_companion(self, candidate: Candidate, evidence: Evidence) -> Evidence:
        """Add to the evidence whether somebody is writing it, by a lease. Its content does not matter."""
        if candidate.is_closed and evidence.is_heard_closed:
            return evidence
        try:
            file, _ = self._site.drop.open(candidate.path)
        except RecordingUnreachable:
            return evidence
        with file:
            evidence = replace(evidence, is_open=is_being_written(file))
        self._check_unchanged(candidate)
        return evidence

    def _check_unchanged(self, candidate: Candidate) -> None:
        if self._site.drop.fingerprint(candidate.path) != candidate.fingerprint:
            raise RecordingChanged("it is still being written")

    def _look_into(self, candidate: Candidate, evidence: Evidence) -> Evidence:
        """Add to the evidence whether its container is complete, and (by a lease) whether it is being written."""
        path, size, config = candidate.path, candidate.fingerprint.size, self._site.config
        is_read = may_be_sent(size, config.audio, config.limits.max_upload_bytes)
        if size == 0 or not (is_read or may_be_left(config, path)):
            return replace(evidence, is_foreign=is_left(config, path, size, None))  # nothing to read, or too much
        file, fingerprint = self._site.drop.open(path)
        with file:
            if fingerprint != candidate.fingerprint:
                raise RecordingChanged("it is still being written")
            if (evidence.heard_open or candidate.code == "open") and not may_be_left(config, path):
                evidence = replace(evidence, is_open=is_being_written(file))
                if evidence.why_open:
                    return evidence  # its content does not matter yet
            quiet_seconds = self._site.clock.monotonic() - candidate.changed_at
            found = self._looks.look(file, fingerprint, path, quiet_seconds, find_raw(config.audio, path))
            candidate.is_sure = quiet_seconds >= SURE_SECONDS
            evidence = replace(evidence, is_foreign=is_left(config, path, size, found))
            if isinstance(found, Examination):  # else not a recording, or not yet: only quiet can tell
                evidence = replace(
                    evidence,
                    completeness=found.completeness,
                    missing_bytes=found.missing_bytes,
                    has_sound=found.has_sound,
                )
            evidence = replace(evidence, is_open=is_being_written(file))
        # The lease is valid for a moment: what was read before counts only if nothing changed until after it.
        self._check_unchanged(candidate)
        return evidence
