"""Where both programs do otherwise than the document says, with the reason."""

from __future__ import annotations

# Answers that aren't looked at: method, template, status.
ANSWERS = {
    # A panic is answered in text.
    ("PUT", "/services/haproxy/runtime/maps/{name}", 500),
    ("POST", "/services/haproxy/storage/ssl_crt_lists", 500),
    # Another success than the document's, and none where it has a certificate.
    ("PUT", "/services/haproxy/runtime/ssl_ca_files/{name}", 201),
    ("POST", "/services/haproxy/runtime/ssl_ca_files/{name}/entries", 201),
    # Errors of calls that answer with a file are JSON under the file's media type.
    ("GET", "/services/haproxy/storage/maps/{name}", 404),
    ("GET", "/services/haproxy/storage/general/{name}", 404),
    ("GET", "/services/haproxy/storage/ssl_crt_lists/{name}", 404),
    # What is refused before the handler is asked is JSON, where the document has text.
    ("POST", "/services/haproxy/configuration/raw", 401),
    ("POST", "/services/haproxy/configuration/raw", 415),
    ("POST", "/services/haproxy/configuration/raw", 422),
    # Figures, with an error among them, where the document has an error.
    ("GET", "/services/haproxy/stats/native", 500),
}

# Fields with other values than the document's: the schema's name, the field's.
VALUES = {
    # HAProxy's own words are handed on, such as `UP 1/3`, `DRAIN`, `OPEN`, and `* INI`.
    ("native_stat_stats", "status"),
    ("native_stat_stats", "check_status"),
}
