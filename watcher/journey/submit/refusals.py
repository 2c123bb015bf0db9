"""Whom the words of a refusal blame. Pure.

The service answers 400 for three things, and few of its messages are documented. The word "audio" may appear in
any of them. So a file is blamed only by a statement about this very file, and only where nothing else in the
message is about an account, a limit, the options, the service or the way there.
"""

import re
from enum import StrEnum


class Blamed(StrEnum):
    """Whom a refusal's words blame."""

    FILE = "file"
    CREDIT = "credit"
    OTHERS = "others"  # a limit to many files, or the service, as they are at the moment
    NOBODY = "nobody"


def whom_blames(text: str) -> Blamed:
    """Return whom these words blame; in doubt, nobody: that costs one more upload, a wrong "file" a recording.

    What is used up, too much at once or out of order at the moment is no file's fault, however often it is said.

    A plan's limit for one file ("too large for your plan") blames nobody either: taken for lack of credit, that
    one file would pause all others again and again.
    """
    text = " ".join(text.replace("\u2019", "'").split())
    of_file = _has(_OF_FILE, text)
    if _has(_CREDIT, text) or (_has(_PLAN, text) and not of_file):
        return Blamed.CREDIT
    of_limit = _has(_OF_LIMIT, text)
    if _has(_OF_MOMENT, text) or (of_limit and not of_file):
        return Blamed.OTHERS
    if of_file and not any(_has(words, text) for words in (_PLAN, _OF_LIMIT, _OF_ACCOUNT, _OF_REQUEST)):
        return Blamed.FILE
    return Blamed.NOBODY


def _has(pattern: str, text: str) -> bool:
    """Return whether the pattern occurs in the text. It is compiled at its first use: most processes have none."""
    return re.search(pattern, text, re.IGNORECASE) is not None


def _words(*patterns: str) -> str:
    """Return a pattern for any of these, as whole words."""
    return "|".join(rf"\b(?:{pattern})\b" for pattern in patterns)


_CREDIT = r"credit|balance|payment|\bfunds?\b|billing"
_PLAN = r"quota|\bplans?\b|subscription"

_OF_ACCOUNT = _words(
    r"accounts?|customers?|users?|organi[sz]ations?|workspaces?|teams?|tenants?|company|companies|projects?",
    r"licen[cs]\w+|contracts?|tiers?|trials?|upgrade\w*|invoices?",
    r"keys?|tokens?|access|permissions?|permitted to|allowed to|authori[sz]\w+|regions?|country|countries|terms",
    r"features?|enabled|disabled|suspended|suspension|blocked|banned|expired|overdue|terminated|deactivated",
)
"""Whether for all files or for one of its kind, only the next ones tell."""

_OF_LIMIT = _words(
    r"(?<!size )limit\w*|reached|units|total|per|each|number of|(?:audio|more|enough|of) minutes",
    r"allowances?|allotments?|packages?|wallets?|(?:insufficient|not enough) (?:audio )?tokens",
)
"""A limit to more than one file; beside words of a file it may be one to this file."""

_OF_MOMENT = _words(
    # What is used up, or too much at once.
    r"too many|rate exceeded|used up|exhausted|remain\w*|left|at the same time|at (?:once|a time)|in parallel",
    r"concurrent\w*|simultaneous\w*|months?|monthly|days?|daily|today|hourly|weeks?|weekly|years?|yearly",
    # The service.
    r"services?|servers?(?! accepts)|unavailable|maintenance|endpoints?|api|models?|clients?|our",
    r"deprecated|no longer|temporar\w+|wait|retry|try again|later|busy|queued?|backlog|overload\w*|capacity",
    r"internal|time[ds]? out|timeout|store[sd]?|storage|sav(?:e|ed|ing)|dis[ck]s?|space|databases?|download\w*",
)

_OF_REQUEST = _words(
    # The options, and what did not arrive: something before the service has a small limit or a full disk.
    r"ref[_ ]id|webhook\w*|no[_ ]cache|prevent[_ ]c2pa\w*|parameters?|options?|urls?|required|missing",
    r"requests?|payload|body|json|multipart|content[- ]type|processing|failed to upload",
)

_NAME = r"(?:mp3|wave?|ogg|flac|aac|m4[abpr]|mp4|3gp)"
_FORMAT = rf"(?:(?:{_NAME} )?(?:format|codec|encoding|container|extension)s?)"
_TYPE = r"(?:(?:file|audio|media|mime) types?)"
_KIND = rf"(?:(?:(?:audio|media|file|mime|container) ){{0,3}}(?:{_FORMAT}|{_TYPE}|sampl(?:e|ing) rate))"
_GIVEN = r"(?:uploaded|provided|submitted|given|selected|sent|input|source|audio|media|sound|voice|speech)"
_THING = r"(?:file|audio|recording|media|clip|track)"
_FILE = rf"(?:(?:{_GIVEN} ){{0,4}}{_THING}(?: (?:file|data|content|you (?:sent|uploaded))){{0,2}})"
_MEASURE = rf"(?:{_FILE}(?:'s)?(?: field)?(?: size| length| duration)?|size of (?:the |this |your )?{_FILE})"
_IS = r"(?: (?:is|was|seems|appears|looks|may|be|to|has|been|either|far|much)){0,4}"
_CANNOT = r"(?:can ?not|can't|could not|couldn't|unable to|failed to)"
_NOT = r"(?:is |are |was )?(?:not|isn't|aren't)(?: a| an)?"
_SOUND = r"(?:(?:human |audible |spoken )?(?:speech|voice|audio|sound)(?: tracks?| streams?| data| content)?)"
_END = r"(?= *(?:$|[.,;:!()-]|and |or |was |in the |in this |in your ))"
"""After a noun that "minutes", "licence" or "processing" would turn into something else."""
_BAD = r"(?:corrupt(?:ed)?|damaged|broken|malformed|truncated|unreadable|undecodable|invalid|empty|silent)"

_OF_FILE = _words(
    # Its format: "unknown codec", "the uploaded file format is not supported", "must be a file of type: mp3".
    rf"(?:unsupported|invalid|unknown|unrecogni[sz]ed|bad|wrong) {_KIND}",
    rf"{_KIND}(?: [\w./'-]+){{0,4}}? {_NOT} (?:supported|accepted|allowed|valid|known|recogni[sz]ed)",
    rf"{_KIND}(?: of the {_FILE})? is (?:unsupported|invalid|unknown|unrecogni[sz]ed|bad|wrong)",
    rf"{_CANNOT} (?:determine|detect|identify|recogni[sz]e) (?:the |its )?{_KIND}",
    rf"must (?:be a file of type|be (?:an? )?{_NAME}|have one of the following extensions)",
    rf"only (?:the )?{_NAME}|(?:supported|accepted|allowed) {_KIND}(?=:| are)",
    rf"(?:unsupported|invalid|not an?)(?: valid| supported| recogni[sz]ed)? "
    rf"(?:(?:{_GIVEN}|{_NAME}) ){{0,4}}(?:file|recording|audio){_END}",
    rf"this {_FILE} {_NOT} (?:supported|valid){_END}",
    # What is in it: "the file is corrupt", "the audio could not be decoded", "no speech was found".
    rf"{_FILE}{_IS} {_BAD}{_END}",
    rf"(?:corrupt(?:ed)?|damaged|malformed|truncated|unreadable|undecodable|empty|silent) {_FILE}{_END}",
    rf"{_FILE} {_CANNOT} be (?:decoded|read|parsed){_END}",
    rf"(?:{_CANNOT} (?:decode|parse)|error (?:while )?(?:decoding|parsing)) (?:the |this |your )?{_FILE}{_END}",
    rf"{_CANNOT} read (?:the |this |your )?(?:audio|media){_END}|{_CANNOT} read (?:the |this |your )?audio file",
    rf"no {_SOUND}(?: (?:was|were|is|could|be|has|been)){{0,4}} (?:found|detected|recogni[sz]ed|present)",
    r"no audio (?:track|stream)s?",
    rf"(?:contains? (?:no|too little)|does(?:n't| not) (?:contain|have)(?: any| enough)?|not enough|too little) "
    rf"{_SOUND}{_END}",
    rf"(?:could not|couldn't|unable to|did not) (?:find|detect) (?:any )?{_SOUND}{_END}",
    # Its measures: "exceeds the maximum allowed size of 50MB", "must not be greater than 15000 kilobytes".
    rf"{_MEASURE}{_IS} too (?:large|big|long|short|small|quiet|noisy){_END}",
    rf"{_MEASURE} exceeds (?:the )?(?:max(?:imum)?(?: allowed)?(?: size| duration| length|{_END}| of)|\d[\w.]*)",
    r"file size (?:limit )?exceeded|max(?:imum)? file size",
    rf"{_MEASURE} (?:must|may|should|can) (?:not )?be "
    r"(?:greater|larger|longer|shorter|smaller|less|at|between|under)",
    rf"{_MEASURE} is (?:longer|shorter|larger|smaller|greater|less) than",
)
