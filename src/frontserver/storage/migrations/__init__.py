"""Alembic's environment and the migrations in `versions`, shipped in the package.

Belongs here: changes of the schema, one file each, never edited once released. Doesn't: the
schema as it is now (that is `storage.tables`).
"""
