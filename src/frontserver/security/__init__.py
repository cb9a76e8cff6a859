"""Who is calling: agent keys, tokens, operators, and how often somebody may guess.

Belongs here: credentials and principals. Doesn't: HTTP, storage, certificates.
"""
