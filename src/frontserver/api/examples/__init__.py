"""Examples for the OpenAPI document, written as wire structs so that they can't drift.

Belongs here: sample requests and answers. Doesn't: anything that runs for a request.
"""
