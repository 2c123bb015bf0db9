"""A multipart/form-data body, split in place by PHP's rules of what is a file and what a field."""

import re
from dataclasses import dataclass, field

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,200})"|([^\s";,]{1,200}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([^\s=;"]+)=(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file within the body, which is not copied: bytes `start` to `end`."""

    filename: str
    media_type: str | None
    start: int
    end: int


@dataclass(slots=True)
class Form:
    """The text fields as they were sent, and the files; of two with one name the later."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, FilePart] = field(default_factory=dict)
    is_whole: bool = True  # false: the closing boundary is missing


def split_form(body: bytearray, size: int, content_type: str) -> Form:
    """Return the form in the first `size` bytes of `body`; an empty one where there is none or it is malformed.

    Only a part with a non-empty `filename=` is a file. `filename*=` alone makes a text field.
    """
    form = Form()
    boundary = _BOUNDARY.search(content_type)
    if boundary is None or content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        return form
    delimiter = b"--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
    at = body.find(delimiter, 0, size)
    if at < 0:
        return form
    at += len(delimiter)
    delimiter = b"\r\n" + delimiter
    while True:
        if body[at : at + 2] != b"\r\n":
            return form  # the closing boundary, or nonsense behind one: what came before stands
        start = body.find(b"\r\n\r\n", at, size)
        if start < 0:
            break
        headers = bytes(body[at + 2 : start])
        start += 4
        end = body.find(delimiter, start, size)
        if end < 0:
            break
        _take_part(form, headers, body, start, end)
        at = end + len(delimiter)
    form.is_whole = False
    return form


def _take_part(form: Form, headers: bytes, body: bytearray, start: int, end: int) -> None:
    disposition, media_type = "", None
    for line in headers.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.lower() == "content-disposition":
            disposition = value.strip()
        elif header.lower() == "content-type":
            media_type = value.strip()
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(disposition):
        key, quoted, bare = match.groups()
        parameters[key.lower()] = bare.strip() if quoted is None else _ESCAPED.sub(r"\1", quoted)
    name = parameters.get("name")
    if not name or not disposition.lower().startswith("form-data"):
        return
    filename = parameters.get("filename")
    if filename is None:
        form.fields[name] = body[start:end].decode("utf-8", "replace")
    elif filename:  # an empty one is a file input nobody filled in
        form.files[name] = FilePart(filename, media_type, start, end)
