// The buttons of an input do not say whose they are; as a group, a block is announced with its label.
(() => {
  let waiting = false;
  function nameBlocks() {
    waiting = false;
    document.querySelectorAll('[data-testid="block-label"]').forEach((label) => {
      const block = label.closest('.block');
      const name = label.textContent.trim();
      if (block && block.getAttribute('aria-label') !== name) {
        block.setAttribute('role', 'group');
        block.setAttribute('aria-label', name);
      }
    });
  }
  new MutationObserver(() => {
    if (!waiting) { waiting = true; requestAnimationFrame(nameBlocks); }
  }).observe(document, { childList: true, subtree: true });
})();
