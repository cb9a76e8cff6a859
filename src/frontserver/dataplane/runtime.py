"""What HAProxy does now, through the API: servers, map entries, TLS material, the process."""

from __future__ import annotations

from frontserver.dataplane.calls import HaproxyInfo
from frontserver.dataplane.maps import Maps
from frontserver.dataplane.material import Material
from frontserver.dataplane.servers import AdminState, RuntimeServer, Servers, ServerStats

__all__ = ["AdminState", "HaproxyInfo", "Runtime", "RuntimeServer", "ServerStats"]


class Runtime(Servers, Maps, Material):
    """Commands to the running worker; what they change is lost at the next reload.

    Everything raises `ProxyUnavailableError` while HAProxy is down, never `AbsentError` for that.
    """
