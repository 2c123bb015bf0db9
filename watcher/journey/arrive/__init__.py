"""First and second: see every file in the drop folder, watch it until it is whole, and make it an item.

    watch, scan  →  settle  →  admit

`watch` listens to the kernel's events (`events`), which are hints, and tracks opens and closes (`openings`).
`arrivals` is the step that scans and looks; `settle` (pure) decides when a file is whole. `admit` examines and
hashes what has settled, and gives it a row. `companions`, `foreign` and `strays` deal with what else is in the
drop folder.
"""
