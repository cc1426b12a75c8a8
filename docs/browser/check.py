"""Open a built page in headless Chromium, play a day, and compare it with the same day here.

``python docs/browser/check.py build/browser [picture.png]`` needs playwright and a Chromium (`CHROMIUM`). The page may load
files of its own only, unless it was built for another host.
"""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route, sync_playwright
from race import Race

CHROMIUM = "/usr/bin/chromium"
PACE, MINUTES = 0.25, 60_000


def serve(folder: Path) -> http.server.ThreadingHTTPServer:
    """Serve a folder on a free port of 127.0.0.1."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def play(page: Page) -> dict[str, float]:
    """Play the first day at one pace, wait for the optimum, and return the cost of each order, bps."""
    page.wait_for_function("document.getElementById('step').disabled === false", timeout=5 * MINUTES)
    page.locator("#pace").fill(str(PACE))
    page.click("#step")
    page.click("#finish")
    page.wait_for_function("state.slice === state.slices && state.orders.optimum", timeout=9 * MINUTES)
    return dict(page.evaluate("Object.fromEntries(Object.entries(state.orders).map(([k, v]) => [k, v.cost_bps.at(-1)]))"))


def here() -> dict[str, float]:
    """Return the cost of each order on the same day, computed by this Python."""
    race = Race()
    for _ in range(race.market.slices):
        race.step(PACE)
    return {name: order["cost_bps"][-1] for name, order in race.add_optimum()["orders"].items()}


def open_page(folder: Path, picture: str) -> dict[str, float]:
    """Open the page, let it reach its own host alone, and return the costs that it shows."""
    server = serve(folder)
    own = f"http://127.0.0.1:{server.server_port}/"
    elsewhere = json.loads((folder / "settings.json").read_text(encoding="utf-8"))["pyodide"]

    def guard(route: Route) -> Any:
        return route.continue_() if route.request.url.startswith((own, elsewhere)) else route.abort()

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 760})
        page.route("**/*", guard)
        page.on("console", lambda message: print(message.text[:300], file=sys.stderr))
        page.goto(own)
        shown = play(page)
        page.screenshot(path=picture)
        browser.close()
    return shown


if __name__ == "__main__":
    shown, computed = open_page(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "browser.png"), here()
    for name, cost in computed.items():
        print(f"{name:8} {shown[name]:12.8f} in the browser {cost:12.8f} here")
    sys.exit(any(abs(shown[name] - cost) > 1e-6 for name, cost in computed.items()))
