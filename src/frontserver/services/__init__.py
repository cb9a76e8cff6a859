"""Use cases: what an agent or an operator can ask for, one class a subject.

Belongs here: authorisation, validation that needs state, one transaction a change. Doesn't:
HTTP (that is `api`), HAProxy (that is `reconcile`).
"""
