"""Third: send a queued recording to the service, once, when the rate windows have room.

    claim (commit)  →  one POST  →  record (commit)

`submission` chooses the next recording and takes it through `claim`, `send` and `record`; `unrecorded` keeps
answers that the database does not take yet. `start` decides whether a submission may begin now, when looking and
again in the claim. `policy` (pure) judges errors, `doubt` says what a lost answer means, and `pauses` and
`windows` are what the database knows about pauses, caps and rates.

The intent and the spend are committed before the first byte is sent; that the service may have a complete request
is committed before the last part is sent. So after a crash the ledger tells what cannot have been charged, and
what may have been.
"""
