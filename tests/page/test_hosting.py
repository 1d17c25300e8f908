"""The page behind a path prefix, and on a host of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from brainmri.page.export import write_site
from tests.e2e.servers import free_port, serving
from tests.page.chromium import CHROMIUM, chromium, give, picture, tab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian's package)"),
]

PREFIX = "/clinic/mri"


class Proxy(BaseHTTPRequestHandler):
    """Takes a prefix off the path and asks the service."""

    service = ""

    def do_GET(self) -> None:
        self.forward()

    def do_POST(self) -> None:
        self.forward()

    def forward(self) -> None:
        if not self.path.startswith(PREFIX + "/"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "accept")}
        url = self.service + self.path.removeprefix(PREFIX)
        answer = httpx.request(self.command, url, content=body, headers=kept, timeout=30, trust_env=False)
        self.send_response(answer.status_code)
        for name in ("content-type", "content-security-policy"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: Any) -> None:
        """Keeps quiet."""


class Files(SimpleHTTPRequestHandler):
    """A static host."""

    def log_message(self, *_: Any) -> None:
        """Keeps quiet."""


@contextmanager
def hosting(handler: Any) -> Iterator[str]:
    """Runs a host on a free port; yields its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        thread = Thread(target=host.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{host.server_address[1]}"
        finally:
            host.shutdown()
            thread.join()


def test_the_page_works_behind_a_path_prefix(tmp_path: Path) -> None:
    with serving(tmp_path) as server, hosting(Proxy) as origin, chromium() as browser:
        Proxy.service = str(server.client.base_url).rstrip("/")
        with tab(browser, f"{origin}{PREFIX}/") as page:
            give(page, picture((255, 0, 0)))
            expect(page.locator("#result h2")).to_have_text("Most like a glioma; 98 % sure.")
            page.get_by_role("link", name="Model").click()
            expect(page.locator("#model h2").first).to_have_text("brain_mri_xception 0.0.1")
            page.get_by_role("link", name="API").click()
            expect(page.locator("#swagger-ui .title").first).to_contain_text("brainmri")


def test_the_page_works_on_a_host_of_its_own(tmp_path: Path) -> None:
    port, site = free_port(), tmp_path / "site"
    write_site(site, f"http://127.0.0.1:{port}")
    with (
        hosting(partial(Files, directory=site)) as origin,
        serving(tmp_path, http_port=port, cors_origins=origin),
        chromium() as browser,
        tab(browser, f"{origin}/") as page,
    ):
        expect(page.locator("#privacy")).to_contain_text(f"Images are sent to 127.0.0.1:{port} and nowhere else.")
        give(page, picture((255, 0, 0)))
        expect(page.locator("#result h2")).to_have_text("Most like a glioma; 98 % sure.")
