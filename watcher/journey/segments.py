"""What the service says of each segment of a recording, in either of its forms. Pure."""

from typing import Any

from watcher.text import JsonObject, to_json


def segments_of(result: JsonObject | None) -> list[Any]:
    """Return the segments in a result: `chunk_details` of one alone, `details.clips` of the list form."""
    if result is None:
        return []
    details = result.get("details")
    clips = details.get("clips") if isinstance(details, dict) else None
    for found in (result.get("chunk_details"), clips):
        if isinstance(found, list) and found:
            return found
    return []


def describe_segments(result: JsonObject | None, most_bytes: int) -> JsonObject:
    """Return the segments for a receipt: all of them, or their number alone where they are longer than that.

    None: the result was not kept."""
    if result is None:
        return {"segments": None}
    segments = segments_of(result)
    if len(to_json(segments, indent=4).encode()) <= most_bytes:
        return {"segments": segments}
    return {"segments": None, "segments_left_out": len(segments)}
