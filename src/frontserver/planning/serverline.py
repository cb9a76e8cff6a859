"""A server's arguments, for `add server` at run time and for a `server` line alike.

Every option stands on the line: dynamic servers ignore `default-server`, and `ssl` doesn't imply
`check-ssl` there (HAProxy management guide, "add server").
"""

from __future__ import annotations

from frontserver.planning.compiled import Server, ServerTls


def address(server: Server) -> str:
    """`address:port`, an IPv6 address in brackets."""
    host = f"[{server.address}]" if ":" in server.address else server.address
    return f"{host}:{server.port}"


def arguments(server: Server) -> str:
    """Everything after the server's name."""
    words = [address(server), "weight", str(server.weight)]
    if server.backup:
        words.append("backup")
    if server.maxconn is not None:
        words += ["maxconn", str(server.maxconn)]
    if server.cookie is not None:
        words += ["cookie", server.cookie]
    if server.check is not None:
        check = server.check
        words += ["check", "inter", f"{check.interval_ms}ms"]
        words += ["rise", str(check.rise), "fall", str(check.fall)]
    if server.tls is not None:
        words += _tls(server.tls, checked=server.check is not None)
    return " ".join(words)


def _tls(tls: ServerTls, *, checked: bool) -> list[str]:
    words = ["ssl"]
    words += ["verify", "required", "ca-file", tls.ca_file] if tls.ca_file else ["verify", "none"]
    if tls.sni is not None:
        words += ["sni", f"str({tls.sni})"]
    if checked:
        words.append("check-ssl")
        if tls.sni is not None:
            words += ["check-sni", tls.sni]
    return words
