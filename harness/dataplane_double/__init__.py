"""A double of HAProxy's Data Plane API v3, for tests where the real program isn't there.

`python -m harness.dataplane_double -f dataplaneapi.yml` reads the real one's settings and drives a
real HAProxy over its master socket. It knows the calls that the product makes, and answers them as
the real one does, where it is wrong too: `tests/conformance` runs the same tests on both, and
docs/dataplane-double.md says where they differ.

Belongs here: HTTP as the real one speaks it (`api_*`), its memory, files and reloads, what it says
to HAProxy. Doesn't: anything of the product, nor what a user would expect instead.
"""
