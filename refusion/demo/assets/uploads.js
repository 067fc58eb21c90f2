// An upload cancels the example that its tab waits for. On a slow connection the example may come all the same, and must
// not replace what was uploaded meanwhile.
window.pageUploads = {
  latest: {},

  // An example was asked for; only uploads from now on are newer than it.
  wait(tab) { delete this.latest[tab]; },

  // Something was uploaded; `values` are all uploads of the tab.
  keep(tab, values) { this.latest[tab] = values; },

  // An example has come; returns the uploads that it has replaced, or nothing.
  newer(tab) { return this.latest[tab]; },
};
