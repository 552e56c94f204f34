"""The process of `guard serve`: its socket, and how it ends."""

from __future__ import annotations

import logging
import socket
import sys
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from bertguard.errors import ConfigurationError

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

GRACE_SECONDS = 10
"""How long open answers may go on after Ctrl-C."""

# uvicorn's own default.
_BACKLOG = 2048

# What uvicorn says of every handshake for a WebSocket where it was told to speak none.
_UPGRADE_ADVICE = ("Unsupported upgrade request.", "No supported WebSocket library detected.")


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, before the model is loaded: a taken port should not cost that time."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # From here on connections wait for the model instead of being refused.
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({reason}); use another --host or --port"
        ) from error
    return listener


class Server(uvicorn.Server):
    """A server that says what it waits for when it is told to stop.

    Of a client that asks for a WebSocket it says nothing: the client is told, and to install a
    library for them, as uvicorn advises, would help nobody.
    """

    def __init__(self, config: uvicorn.Config, *, say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._say = say
        logging.getLogger("uvicorn.error").addFilter(_no_upgrade_advice)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's, after a line where answers are open."""
        if self.server_state.tasks and not self.should_exit:
            self._say(
                f"guard: stopping; open answers have {GRACE_SECONDS} seconds, Ctrl-C again ends "
                "them"
            )
        super().handle_exit(sig, frame)


def _no_upgrade_advice(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_UPGRADE_ADVICE)


def ending_quietly(app: ASGIApp) -> ASGIApp:
    """The application; what the server cuts off at its end is no error to report with a trace."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def untraced(message: Message) -> None:
            # Starlette tells the trace of whatever ends its lifespan, a second Ctrl-C as well.
            if message["type"] == "lifespan.shutdown.failed" and isinstance(
                sys.exception(), CancelledError
            ):
                message = {**message, "message": ""}
            await send(message)

        with suppress(CancelledError):
            await app(scope, receive, untraced)

    return guarded
