"""All that is fuzzed, by name."""

from tests.fuzz import answers, echoing, page, papers, recordings, settings

TARGETS = {
    target.name: target
    for module in (recordings, answers, papers, settings, page, echoing)
    for target in module.TARGETS
}
"""Name → what is fuzzed under it."""
