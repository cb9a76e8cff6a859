"""What travels over REST: request and answer structs with the field names that agents use.

Belongs here: the JSON shapes and their translation into `model`. Doesn't: decisions, I/O,
frameworks. The agent program imports this package and nothing below it but `model`.
"""
