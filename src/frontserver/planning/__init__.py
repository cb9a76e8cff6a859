"""The pure core: desired state → compiled configuration → difference → plan.

Belongs here: plain functions over frozen structs. Doesn't: a clock, I/O, a framework, or anything
that changes its arguments. The cost of one change never depends on how many routes exist.
"""
