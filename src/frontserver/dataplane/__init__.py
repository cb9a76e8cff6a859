"""The HAProxy Data Plane API v3, as a typed client.

Belongs here: its requests and answers as structs, what its words and status codes mean, how long
to wait, what may be repeated.
Doesn't: when to ask it for what (`backends`), configurations' text (`rendering`), routes.
"""
