"""What our judgement of recordings is worth: every writer's, whole and damaged, beside a full decode of each."""

import time

from tests.audio_judgement import Comparison
from tests.audio_writers import kinds


def main() -> None:
    found, began = Comparison(), time.monotonic()
    for seconds in (0.0, 0.1, 3.0, 70.0):
        found.compare(kinds(), seconds, with_variants=0 < seconds < 60)
    print(found)
    print(f"{len(kinds())} kinds of recordings; {time.monotonic() - began:.0f} s; where they are apart:")
    print("\n".join(f"  {line}" for line in found.apart))
