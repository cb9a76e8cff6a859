"""Requests to a Data Plane API and its answers, held against the API's OpenAPI document.

The document is the double's; what is held against it comes from anybody, on either program.
"""
