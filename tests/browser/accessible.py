"""What axe-core finds wrong on a page: in light everything, in dark what depends on colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.later import later

if TYPE_CHECKING:
    from axe_playwright_python import base
    from playwright.sync_api import Page
else:
    base = later("axe_playwright_python.base")

# All that is not a violation is left in the browser: on a long page it is megabytes.
RUN: Final = """
async (only) => {
  const options = only ? { runOnly: only, resultTypes: ["violations"] } : { resultTypes: ["violations"] };
  const found = await axe.run(options);
  return found.violations.map((one) => `${one.id} ${one.nodes[0].html.slice(0, 200)}`);
}
"""


def axe(page: Page, path: str) -> list[str]:
    """One line for each rule that the page breaks; the page is left in dark."""
    page.emulate_media(color_scheme="light")
    page.evaluate(base.AXE_SCRIPT)
    found = page.evaluate(RUN)
    page.emulate_media(color_scheme="dark")
    found += page.evaluate(RUN, ["color-contrast"])
    return [f"{path}: {one}" for one in found]
