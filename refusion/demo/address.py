"""The address of the page in the browser names the open tab and the result in it; its script is assets/address.js."""

from typing import Any

import gradio as gr

from refusion.demo.events import PRIVATE

ARRIVED = "() => { pageAddress.arrived = true; }"
"""JavaScript to run when the link that the page was opened with has been followed."""

OPENED_WITH = "[pageAddress.openedWith, ...values.slice(1)]"
"""JavaScript: the values for a handler, with the query string that the page was opened with in place of the first."""


def keep_address(name: str, tab: gr.Tab, address: gr.Textbox | None = None) -> None:
    """Keep the address of the page that of a tab, or of the result in it, while the tab is open.

    Args:
        name: name of the tab in the address.
        tab: the tab.
        address: query string of the link to its result, if it has one.
    """
    event: dict[str, Any] = {"js": f"(address) => pageAddress.show('{name}', address)", **PRIVATE}
    tab.select(None, address, None, **event)
    if address is not None:
        address.change(None, address, None, **event)
