"""`python -m app.probe`: whether the front end in this container answers, for the container's health check."""

from __future__ import annotations

import http.client
import sys
from typing import Final

from app.settings import Settings

ANSWER_SECONDS: Final = 4.0


def probe(settings: Settings) -> str | None:
    """Why the front end does not answer at this machine's own address, or None if it does."""
    connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except OSError as error:
        return f"port {settings.port} does not answer: {error}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"/health/live answers {status}"


def main() -> int:
    """Exit code 0 if it answers, else 1 and the reason."""
    problem = probe(Settings.from_environ())
    print(problem or "the front end answers")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
