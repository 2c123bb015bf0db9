"""First and second: every file in the drop folder is seen, watched until it is whole, and becomes an item.

    watch, scan  →  settle  →  admit

`watch` has the kernel's events (`events`), which are hints, and the opens and closes that they tell (`openings`).
`arrivals` is the step that scans and looks; `settle` (pure) says when a file is whole. `admit` examines and hashes
what has settled, and gives it a row. `companions`, `foreign` and `strays` are what else lies in the drop folder.
"""
