"""What the product knows: validated names, targets, options and routes, all frozen.

Belongs here: value types and their rules. Doesn't: input formats (`wire`), anything with I/O.
"""
