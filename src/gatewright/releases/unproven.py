"""What a release does *not* prove, in plain words. The list of ``docs/decisions/0001``; a test holds them equal."""

from __future__ import annotations

UNPROVEN = (
    "That the declared training rows are the rows the model learned from. The owner declares them; we compare them with the test rows.",
    "That the model is right, fair or free of a hidden trigger outside the rows and the checks of its report.",
    "That the data are lawful, representative or correctly labelled. The datasheet is the owner's word.",
    "That approvers read what they signed, or that two keys are two people. All keys of a home lie in that home.",
    "That the operator has not rewritten what no independent witness has cosigned yet, and, where the operator and the witnesses act together, that there is one history. `verify` says up to which record who cosigned.",
    "That every prediction was recorded. A receipt proves the record that was made; it cannot prove that no other answer was given without one by altered software.",
    "That times are true. They come from this machine's clock, the time of a cosignature from the witness's; the ledger only keeps them from going backwards.",
    "That the processor, the operating system, Python and ONNX Runtime computed what the model says.",
    "That the intervals hold in production. They assume that production rows resemble the test rows and are independent.",
    "That no newer version of `trust.json` exists than the one a verifier was given, and that a release was not revoked after it was exported. Its expiry bounds the first, the log shows the second.",
)
