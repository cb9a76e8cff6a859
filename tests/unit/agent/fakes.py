"""A certificate authority and a front server in memory, for the agent's tests."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

URL = "http://front.test"
AGENT = "a1"
KEY = "the-agents-key-0001"
DOMAIN = "a1.mongodb.example.com"
NOW = datetime(2031, 5, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


class Authority:
    """Issues certificates around a moment, ten days back and eighty ahead unless told."""

    def __init__(
        self,
        moment: datetime = NOW,
        *,
        above: Authority | None = None,
        is_ca: bool = True,
        ends: datetime | None = None,
    ) -> None:
        self.moment = moment
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = name(f"Test CA {x509.random_serial_number():x}"[:60])
        builder = self._builder(
            self.subject, self.key, above, moment - 100 * DAY, ends or moment + 900 * DAY
        ).add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        self.certificate = builder.sign((above or self).key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return pem(self.certificate)

    def issue(
        self,
        domain: str | None = DOMAIN,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        public: Any = None,
        begins: datetime | None = None,
        ends: datetime | None = None,
        signs: bool = True,
        server: bool = True,
        plain: bool = False,
    ) -> tuple[str, str]:
        """Certificate and key, PEM. `plain` leaves out the usage extensions."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(
            name(domain or "nobody"),
            key,
            self,
            begins or self.moment - 10 * DAY,
            ends or self.moment + 80 * DAY,
            public,
        )
        if domain:
            names = [x509.DNSName(domain), x509.DNSName("localhost")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if not plain:
            purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
            builder = builder.add_extension(_usage(signs=signs), critical=True).add_extension(
                x509.ExtendedKeyUsage([purpose]), critical=False
            )
        return pem(builder.sign(self.key, hashes.SHA256())), key_pem(key)

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        issuer: Authority | None,
        begins: datetime,
        ends: datetime,
        public: Any = None,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name((issuer or self).subject)
            .public_key(public or key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def serial(cert_pem: str) -> int:
    return x509.load_pem_x509_certificate(cert_pem.encode()).serial_number


def problem(status: int, detail: str, **members: Any) -> httpx.Response:
    """Problem details as the API gives them."""
    body = {
        "type": "about:blank",
        "title": "Title",
        "status": status,
        "detail": detail,
        "success": False,
        "error": detail,
        "message": detail,
        "code": status,
    }
    headers = members.pop("headers", {})
    return httpx.Response(status, json=body | members, headers=headers)


Outcome = httpx.Response | Exception


class FrontServer:
    """Answers as the API does. `script` outcomes come first, one for each request."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.authority = authority or Authority()
        self.cert, self.key = self.authority.issue()
        self.ca = self.authority.pem
        self.serves_key = True
        self.agent_key = KEY
        self.tokens: list[str] = []
        self.token_seconds = 3600
        self.clock: Callable[[], datetime] = lambda: NOW
        self.routes: dict[str, dict[str, Any]] = {}
        self.status = "active"
        self.requests: list[httpx.Request] = []
        self.script: list[Outcome] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.script:
            outcome = self.script.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            # A response object serves one client once; a script may name it several times.
            headers = {k: v for k, v in outcome.headers.items() if k != "content-length"}
            return httpx.Response(outcome.status_code, headers=headers, content=outcome.content)
        return self.answer(request)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    @property
    def calls(self) -> list[str]:
        """What was asked for, such as `GET /api/config/a1`."""
        return [f"{r.method} {r.url.path}" for r in self.requests]

    def bodies(self) -> Iterable[Any]:
        return [json.loads(r.content) for r in self.requests if r.content]

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        match request.method, request.url.path.split("/")[2:]:
            case "POST", ["agents", "register" | "authenticate" as verb]:
                return self._identify(verb, body)
            case "GET", ["certificates", "mongodb-ca"]:
                return httpx.Response(200, text=self.ca)
        if request.headers.get("authorization") not in {f"Bearer {t}" for t in self.tokens}:
            return problem(401, "the token isn't valid")
        return self._signed(request, body)

    def _signed(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        match request.method, request.url.path.split("/")[2:]:
            case "POST", ["agents", _, "key"]:
                self.agent_key = body["agentKey"]
                self.tokens.clear()
                return httpx.Response(200, json={"success": True, "message": "replaced"})
            case "POST", ["proxy", kind]:
                return self._publish(kind, body)
            case "GET", ["proxy", "agents", agent]:
                return httpx.Response(200, json={"success": True, "agentId": agent,
                                                 "routes": list(self.routes.values())})  # fmt: skip
            case "GET", ["proxy", "routes", kind, label]:
                below = parse_qs(request.url.query.decode()).get("path", [""])[0]
                view = self.routes[f"{kind}/{label}{below}"] | {"status": self.status}
                return httpx.Response(200, json={"status": view["status"], "route": view})
            case "DELETE", ["proxy"]:
                query = parse_qs(request.url.query.decode())
                label = query.get("subdomain", query["agentId"])[0] + query.get("path", [""])[0]
                if self.routes.pop(f"{query['type'][0]}/{label}", None) is None:
                    return problem(404, "there is no such route")
                return httpx.Response(
                    200, json={"success": True, "message": "gone", "status": "removed"}
                )
            case "GET", ["config", _]:
                return httpx.Response(200, json=self.config())
            case "POST", ["certificates", "agent", _, "csr"]:
                return self._sign(body["csr"])
        return problem(404, f"no {request.url.path}")

    def _identify(self, verb: str, body: dict[str, Any]) -> httpx.Response:
        if body["agentKey"] != self.agent_key:
            return problem(401, "wrong agent id or key")
        self.tokens.append(f"token-{len(self.tokens) + 1}-{self.agent_key}")
        expires = (self.clock() + timedelta(seconds=self.token_seconds)).isoformat()
        answer = {"success": True, "agentId": AGENT, "token": self.tokens[-1], "expiresAt": expires}
        if verb == "register":
            answer |= {
                "message": "registered",
                "agentName": body.get("agentName", AGENT),
                "targetIp": body.get("targetIp", "203.0.113.7"),
                "tlsEnabled": True,
                "certificates": self.bundle(),
            }
        return httpx.Response(200, json=answer)

    def _publish(self, kind: str, body: dict[str, Any]) -> httpx.Response:
        label = body.get("subdomain", body["agentId"])
        path = {"path": body["path"]} if "path" in body else {}
        domain = f"{label}.apps.example.com" if kind == "http" else DOMAIN
        view = {
            "type": kind,
            "agentId": body["agentId"],
            "domain": domain,
            "status": self.status,
            "health": "unknown",
            "options": body.get("options", {}),
            "createdAt": "2031-05-01T12:00:00Z",
            "updatedAt": "2031-05-01T12:00:00Z",
        }
        if self.status == "failed":
            view["reason"] = "HAProxy refuses it"
        answer = {"success": True, "message": "stored", "agentId": body["agentId"],
                  "domain": domain, "type": kind, "status": self.status, "route": view}  # fmt: skip
        if kind == "http":
            view |= {"subdomain": label, "targetUrl": body.get("targetUrl", "")}
            answer |= {"subdomain": label, "targetUrl": body.get("targetUrl", "")}
            view |= path
            answer |= path
        else:
            host = body.get("targetHost", "203.0.113.7")
            view |= {"targetHost": host, "targetPort": body["targetPort"]}
            answer |= {"connectionString": f"mongodb://{DOMAIN}:27017/?tls=true",
                       "targetHost": host, "targetIp": host,
                       "targetPort": body["targetPort"]}  # fmt: skip
        self.routes[f"{kind}/{label}{path.get('path', '')}"] = view
        if self.status == "pending":
            location = f"/api/proxy/routes/{kind}/{label}"
            location += f"?path={path['path']}" if path else ""
            return httpx.Response(202, json=answer, headers={"Location": location})
        return httpx.Response(201, json=answer)

    def _sign(self, csr: str) -> httpx.Response:
        request = x509.load_pem_x509_csr(csr.encode())
        self.cert, _ = self.authority.issue(public=request.public_key())
        self.serves_key = False
        return httpx.Response(
            200, json={"success": True, "agentId": AGENT, "certificates": self.bundle()}
        )

    def renew(self, **how: Any) -> None:
        """Issue the next certificate."""
        self.cert, self.key = self.authority.issue(**how)

    def bundle(self) -> dict[str, Any]:
        key = self.key if self.serves_key else None
        return {
            "ca": self.ca,
            "cert": self.cert,
            "key": key,
            "caCert": self.ca,
            "serverCert": self.cert,
            "serverKey": key,
            "notBefore": "2031-04-21T12:00:00Z",
            "notAfter": "2031-07-20T12:00:00Z",
            "serial": f"{serial(self.cert):x}",
            "fingerprint": "00",
        }

    def config(self) -> dict[str, Any]:
        tls = {
            "mode": "requireTLS",
            "certificateKeyFile": "/etc/ssl/frontserver/mongodb.pem",
            "CAFile": "/etc/ssl/frontserver/ca.crt",
            "allowConnectionsWithoutCertificates": True,
        }
        return {
            "success": True,
            "agentId": AGENT,
            "domains": {"app": "apps.example.com", "mongodb": DOMAIN},
            "certificates": self.bundle(),
            "mongodb": {"net": {"port": 27017, "tls": tls}},
        }


@contextlib.contextmanager
def listening(server: FrontServer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The front server in memory, behind a real port of 127.0.0.1; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = httpx.Request(self.command, URL + self.path, headers=dict(self.headers),
                                    content=body)  # fmt: skip
            response = server(request)
            self.send_response(response.status_code)
            self.send_header("content-length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        if tls is not None:
            # Its handshakes happen in the thread of a request, and may fail there.
            listener.socket = tls.wrap_socket(
                listener.socket, server_side=True, do_handshake_on_connect=False
            )
            listener.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
        thread.start()
        try:
            scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
            yield f"{scheme}://{host}:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            thread.join()
