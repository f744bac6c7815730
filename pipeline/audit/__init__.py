"""`impersonal audit`: attacks that must fail, and releases recomputed.

attacks    the table: one row per attack, its bound and the function that tries it
site       whose configuration is attacked, and how hard
removal …  the attacks themselves, each on synthetic neighbours through the real SQL, noise and ledger
verify     what can be recomputed of the operator's own releases
"""
