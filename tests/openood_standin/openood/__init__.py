"""A stand-in for OpenOOD 1.5, which is not on the package index: its lookups and runners, nothing else.

Written from what is known of Jingkang50/OpenOOD@3c35632: where names are looked up and by whom they are
imported, what an evaluator does in which order, `.cuda()` where it is hard-coded, labels -1, a higher
confidence for in-distribution. No code of OpenOOD is in it.
"""

STAND_IN = True
