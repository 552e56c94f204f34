"""GuardMiddleware: the application gets no request that the guard has not read. Pure ASGI.

The walk of one request: read the body up to the cap, judge body, path and query string, take the
inbound `x-guard-*` headers away, then either answer with the dialect's own refusal or call the
application with the very bytes that were scored. Responses are passed on as they come,
but for `x-guard-*` headers that are not this guard's.

    asgi         the class: which scope goes where
    judging      one question to the guard, and what counts where it fails
    http         bodies in, refusals and report headers out
    websocket    a handshake and its messages
    exemptions   the path as the router sees it, and the ones that are not read
    policies     the routes with a policy of their own
"""

from bertguard.middleware.asgi import DEFAULT_MAX_BODY_BYTES, GuardMiddleware

__all__ = ["DEFAULT_MAX_BODY_BYTES", "GuardMiddleware"]
