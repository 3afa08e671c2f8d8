"""The app's server process: how it is started on this machine, what it never looks up, and how it ends."""

import contextlib
import errno
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import APP_SCRIPT
from fakelens.runtime.bundle import Bundle

_ALL_INTERFACES = ("0.0.0.0", "::")
# Less than the ten seconds that Docker gives a container before it kills it.
GRACE_S = 5.0
_REASONS = {
    errno.EADDRINUSE: "another program uses this port: choose another --port, or end that program",
    errno.EACCES: "this port needs more rights: choose a --port from 1024 on",
    errno.EADDRNOTAVAIL: "that is no address of this machine: choose another --host, such as 127.0.0.1 or 0.0.0.0",
}


def serve(folder: Path, host: str, port: int, *, own_code: bool = True) -> int:
    """Serve the app of the bundle in `folder`; on POSIX this process becomes the server and does not return.

    Without `own_code` the app is the installed one, and of the folder only data are read: hashes say that a stranger's
    code is as it was written, and not that it may be trusted.

    With no process in between, whatever ends this one (a signal, its terminal, a kill) ends the server.

    Raises:
        FakelensError: when it is not a whole bundle, Streamlit is not installed, or nothing can listen at that address.
    """
    Bundle.open(folder).check_files()
    if importlib.util.find_spec("streamlit") is None:
        raise FakelensError("streamlit is not installed: pip install 'fakelens[app]'")
    _check_address(host, port)
    display_host = "localhost" if host in _ALL_INTERFACES else f"[{host}]" if ":" in host else host
    command = [sys.executable, "-m", "streamlit", "run", APP_SCRIPT, f"--server.address={host}"]
    command += [f"--server.port={port}", f"--browser.serverAddress={display_host}"]
    os.environ["FAKELENS_BUNDLE"] = str(folder)
    start = folder if own_code else Path(__file__).parent
    if os.name == "posix":  # on Windows exec starts another process and ends this one at once
        os.chdir(start)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, command)
    return subprocess.run(command, cwd=start, check=False).returncode


def _check_address(host: str, port: int) -> None:
    """Refuse an address that Streamlit would end at with a trace; it binds in the same way."""
    if not host.strip():  # such as an empty variable's, which would mean all interfaces
        raise FakelensError("--host is empty: name an address, such as 127.0.0.1, or 0.0.0.0 for all of this machine's")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, UnicodeError, TypeError) as error:
        number = getattr(error, "errno", None) or 0
        reason = _REASONS.get(number, f"{error}: choose another --host, such as 127.0.0.1 or 0.0.0.0")
        raise FakelensError(f"the app cannot listen on {host}, port {port}: {reason}") from error


def forget_external_address() -> None:
    """Keep Streamlit from asking a server of Amazon's for this machine's address.

    It does so when a request comes from an origin that it does not know, which any stranger can cause; the only use is
    to allow that origin if it is this machine's own address, and a page's own origin is allowed without it.
    """
    from streamlit import net_util

    net_util.get_external_ip = lambda: None


@contextlib.asynccontextmanager
async def bounded_shutdown(_: Any) -> AsyncIterator[None]:
    """ASGI lifespan within which SIGINT and SIGTERM end the process after `GRACE_S` at the latest, with 128 + signal.

    The server alone waits for every open request, so one slow upload would keep it alive; a second signal ends it at
    once.
    """
    signals: list[int] = []

    def shut_down(number: int, frame: FrameType | None) -> None:
        if signals:
            _exit(number)
        signals.append(number)
        timer = threading.Timer(GRACE_S, _exit, [number])
        timer.daemon = True
        timer.start()
        servers_own[number](number, frame)

    servers_own: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(number)):
                servers_own[number] = handler
                signal.signal(number, shut_down)
    yield
    if signals:  # every connection has been closed; nothing is kept that would have to be saved
        _exit(signals[0])


def _exit(number: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + number)
