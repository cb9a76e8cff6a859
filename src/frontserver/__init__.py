"""A control plane for HAProxy: agents ask over REST, routes go live without a reload."""

__version__ = "0.1.0"
