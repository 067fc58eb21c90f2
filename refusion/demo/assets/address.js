// Keeps the address of the page that of the open tab and the result in it.
window.pageAddress = {
  openedWith: window.location.search,
  arrived: false, // Until the link that the page was opened with is followed, the first tab is open, whatever it says.

  // Called when a tab was opened and when a result has appeared; by then, another tab may be open.
  show(tab, address) {
    const open = document.querySelector('.tasks > .tab-wrapper [role="tab"][aria-selected="true"]');
    const named = new URLSearchParams(window.location.search).get('task');
    const elsewhere = named && named !== tab;
    if (open?.dataset.tabId !== tab || (elsewhere && !this.arrived)) return;
    if (address || elsewhere) window.history.replaceState(null, '', address || `?task=${tab}`);
  },
};
