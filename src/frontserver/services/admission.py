"""What a route must pass besides its own validation: target policy, CA texts, its profile."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from frontserver.errors import CertificateError, InputError
from frontserver.model.routes import ProfileName
from frontserver.model.targets import HostPort, TargetPolicy, TargetUrl
from frontserver.pki.bundles import parse_certificates
from frontserver.pki.leaf import certificate_text
from frontserver.planning.compile import STANDARD_PROFILES
from frontserver.planning.compiled import Profile
from frontserver.wire.routes.requests import HttpRouteRequest


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


# What of a profile comes from which option. Being checked makes none special.
_OPTIONS = {
    "balance": "balance",
    "cookie": "sticky",
    "extension": "profile",
    "connect_ms": "timeouts.connect",
    "queue_ms": "timeouts.queue",
    "check_expect": "check.expectStatus",
    "check_timeout_ms": "check.timeout",
    "rewrite_host": "hostHeader",
    "set_request": "headers.request.set",
    "remove_request": "headers.request.remove",
    "set_response": "headers.response.set",
    "remove_response": "headers.response.remove",
}


def is_special(profile: Profile) -> bool:
    """Whether HAProxy must load a section for it that ordinary routes don't use."""
    return profile not in STANDARD_PROFILES


def special_options(profile: Profile) -> tuple[str, ...]:
    """The options that set a profile apart from that of an ordinary route."""
    ordinary = next(
        standard
        for standard in STANDARD_PROFILES
        if (standard.mode, standard.check) == (profile.mode, profile.check)
    )
    return tuple(
        option
        for field, option in _OPTIONS.items()
        if getattr(profile, field) != getattr(ordinary, field)
    )


def check_profiles(profile: Profile, others: Iterable[Profile], most: int) -> None:
    """Refuse a route whose profile would be one too many among those of its owner's `others`.

    Each costs all a reload, and memory for good. Stops at an equal one. Raises `InputError`.
    """
    if not is_special(profile):
        return
    found: set[Profile] = set()
    for other in others:
        if other == profile:
            return
        if is_special(other):
            found.add(other)
    if len(found) >= most:
        raise InputError(
            "options",
            f"{', '.join(special_options(profile))}: no other route of this agent has the like of"
            f" these, and it may have {most} kinds of special routes",
            hint="use the same such options as another route of yours (names of headers count,"
            " their values don't), or ask the operator for a higher"
            " FRONTSERVER_PROFILES_PER_AGENT",
        )
