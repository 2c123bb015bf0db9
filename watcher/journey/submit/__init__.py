"""Third: a queued recording is sent to the service, once, when the rate windows have room.

    claim (commit)  →  one POST  →  record (commit)

`submission` chooses what is next and takes it through `claim`, `send` and `record`; answers that the books do not
take yet are in `unrecorded`. Whether one may begin now is asked of `start`, when looking and again in the claim.
`policy` (pure) judges errors, `doubt` says what a lost answer means, `pauses` and `windows` are what the books
know of pauses, caps and rates.

The intent and the spend are on the disk before the first byte is sent, and the moment from which the service may
have a complete request is on the disk before its last part is let go. So after a crash the ledger tells what
cannot have been charged, and what may have been.
"""
