"""What a route's request must pass besides its own validation: target policy and CA texts."""

from __future__ import annotations

import msgspec

from frontserver.errors import CertificateError, InputError
from frontserver.model.routes import ProfileName
from frontserver.model.targets import HostPort, TargetPolicy, TargetUrl
from frontserver.pki.bundles import parse_certificates
from frontserver.pki.leaf import certificate_text
from frontserver.wire.routes import HttpRouteRequest


def check_target(field: str, target: HostPort, policy: TargetPolicy) -> None:
    """Raise `InputError` for an address that the operator forbids.

    A name passes: it is judged by the address it has when it is resolved, each time.
    """
    if target.address is None:
        return
    reason = policy.refusal(target.address, target.port)
    if reason is not None:
        raise InputError(field, f"this target is not allowed: {reason}")


def check_http_targets(request: HttpRouteRequest, policy: TargetPolicy) -> None:
    """`check_target` for every target of a request that is valid otherwise."""
    if request.target_url:
        check_target("targetUrl", TargetUrl.parse(request.target_url).origin, policy)
    for index, option in enumerate(request.options.targets if request.options else ()):
        origin = TargetUrl.parse(option.url).origin
        check_target(f"options.targets[{index}].url", origin, policy)


def check_profile(name: ProfileName | None, offered: frozenset[str]) -> None:
    """Raise `InputError` for a profile that the operator doesn't offer to agents."""
    if name is None or name in offered:
        return
    hint = f"choose one of: {', '.join(sorted(offered))}" if offered else "leave it out"
    raise InputError("options.profile", f"there is no profile '{name}' to choose", hint=hint)


def normalised_ca(request: HttpRouteRequest) -> HttpRouteRequest:
    """The request with `options.originTls.ca` as plain certificates, since a file will hold it.

    Raises `InputError` if it isn't a PEM bundle of certificates.
    """
    options = request.options
    if options is None or options.origin_tls.ca is None:
        return request
    try:
        certificates = parse_certificates(options.origin_tls.ca)
    except CertificateError as error:
        raise InputError("options.originTls.ca", error.message, hint=error.hint) from error
    pem = "".join(certificate_text(certificate) for certificate in certificates)
    origin_tls = msgspec.structs.replace(options.origin_tls, ca=pem)
    return msgspec.structs.replace(
        request, options=msgspec.structs.replace(options, origin_tls=origin_tls)
    )
