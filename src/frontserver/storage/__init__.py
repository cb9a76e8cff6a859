"""The stored state: tables, migrations, transactions, and one repository a subject.

Belongs here: SQLAlchemy, Alembic, and the records that come out of them. Doesn't: who may
change what (that is `services`), HAProxy.
"""
