"""How soon the console is seen, and how much is transferred for it.

A browser opens it in a new profile each time, as `make console` serves it. First paint is what the
browser itself measures: from the navigation to the first pixels that are not background.

    python -m bench.fronts.console [openings]
"""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from bench.arguments import how_many
from bench.figures import percentiles, table
from gui.site import Configuration, Site, write

TIMES = 40
PAINT = "first-contentful-paint"
# Nobody is asked before somebody signs in.
CONFIGURATION = Configuration(
    api_url="https://api.example/v1",
    cognito_url="https://cognito.example/",
    client_id="client",
    user_pool_id="eu-west-1_Bench",
    stack="dev",
)
PAINTED = """
() => new Promise((found) => new PerformanceObserver((list) => {
  const paint = list.getEntriesByName('%s')[0];
  if (paint) found(paint.startTime);
}).observe({type: 'paint', buffered: true}))
"""
TRANSFERRED = """
() => performance.getEntries().filter((each) => 'transferSize' in each)
  .reduce((sum, each) => sum + each.transferSize, 0)
"""


async def measure(url: str, times: int) -> None:
    """Prints the table."""
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("tl-fif: chromium is not installed: apt-get install chromium")
    async with async_playwright() as playwright:
        sandbox = os.geteuid() != 0
        browser = await playwright.chromium.launch(executable_path=path, chromium_sandbox=sandbox)
        seen = [await _look(browser, url) for _ in range(times + 1)]
        await browser.close()
    # The first starts the browser's own processes.
    figures = {"first paint": percentiles([painted for painted, _ in seen[1:]])}
    print(f"{times} times, each in a new profile; {seen[-1][1]:.0f} bytes transferred")
    print(table(figures))


async def _look(browser: Browser, url: str) -> tuple[float, float]:
    """First paint in ms, and bytes with their headers."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(url)
    seen = await page.evaluate(PAINTED % PAINT), await page.evaluate(TRANSFERRED)
    await context.close()
    return seen


def main() -> None:
    times = how_many(__doc__, "openings", TIMES)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "console"
        write(folder, CONFIGURATION)
        with Site(folder, [0] * 5) as site:
            asyncio.run(measure(site.url, times))


if __name__ == "__main__":
    main()
