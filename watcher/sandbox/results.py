"""The results of accepted recordings. The verdicts are invented, and so is everything that supports them."""

from dataclasses import dataclass
from hashlib import sha256

from watcher.sandbox.content import Fate
from watcher.text import JsonObject

API_VERSION = "1.1.0"
INVENTED = "api_version, errors, result_url, verdict, verdicts, results, chunk_details, details"
"""The fields of a result that are invented."""

_MODELS = ("sandbox-spectral-1", "sandbox-prosody-1")


@dataclass(frozen=True, slots=True)
class Classification:
    """One accepted recording. `ready_at` is on the monotonic clock."""

    identifier: str
    sha256: str
    name: str
    ref_id: str | None
    fate: Fate
    ready_at: float

    def as_json(self, fate: Fate | None, *, url: str, in_list: bool) -> JsonObject:
        """Return the result as the service shows it; `fate` None: not classified yet."""
        is_done = fate in {Fate.HUMAN, Fate.ARTIFICIAL, Fate.INCONCLUSIVE}
        verdicts = _verdicts(self.sha256, fate) if fate in {Fate.HUMAN, Fate.ARTIFICIAL} else []
        results = _results(self.sha256, fate) if is_done else []
        segments = [{"index": n, "classification": r["classification"]} for n, r in enumerate(results[:1])]
        result: JsonObject = {
            "hash": self.sha256,
            "identifier": self.identifier,
            "api_version": API_VERSION,
            "status": "done" if is_done else "errored" if fate else "new",
            "errors": ["The speech could not be classified."] if fate == Fate.ERRORED else [],
            "name": self.name,
            "ref_id": self.ref_id,
            "result_url": f"{url}/api/classification_audio/{self.identifier}",
            "verdict": verdicts[0] if verdicts else None,
            "verdicts": verdicts,
            "results": results,
            "force_classification": None,
        }
        if in_list:
            result["details"] = {"clips": segments}
        else:
            result["chunk_details"] = segments
        return result


def make_identifier(content: str, prevents_c2pa_forces: bool) -> str:
    """Return 64 hex digits: a function of the content's sha256 and the options that change the result alone."""
    return sha256(f"{content} prevent_c2pa_forces={prevents_c2pa_forces}".encode()).hexdigest()


def _certainty(content: str) -> float:
    """Between 0.8 and 0.99, by content."""
    return round(0.8 + int(content[:2], 16) / 255 * 0.19, 4)


def _verdicts(content: str, fate: Fate) -> list[JsonObject]:
    certainty = _certainty(content)
    return [
        {"heuristic": heuristic, "confidence": confidence, "classification": str(fate), "models": list(models)}
        for heuristic, confidence, models in (
            ("sandbox-majority", certainty, _MODELS),
            ("sandbox-strict", round(certainty - 0.05, 4), _MODELS[:1]),
        )
    ]


def _results(content: str, fate: Fate | None) -> list[JsonObject]:
    certainty = _certainty(content)
    artificial = {Fate.ARTIFICIAL: certainty, Fate.HUMAN: round(1 - certainty, 4)}.get(fate or Fate.HUMAN, 0.5)
    labels = [
        {"label": "artificial", "score": artificial},
        {"label": "human", "score": round(1 - artificial, 4)},
    ]
    if int(content[-1], 16) % 2:  # the order is not fixed: a reader must go by the label
        labels.reverse()
    return [{"model": model, "unknown": False, "elapsed_time": 0.5, "classification": labels} for model in _MODELS]
