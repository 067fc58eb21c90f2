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
    // Gradio has a button within a button here; the inner one is the one that does something.
    document.querySelectorAll('button.icon-button:has(button.upload-container):not([role])').forEach((outer) => {
      outer.setAttribute('role', 'group');
      outer.setAttribute('tabindex', '-1');
      outer.setAttribute('aria-label', 'Add files');
      outer.title = 'Add files';
    });
    // A name that is not what stands on the button cannot be spoken by somebody who reads it.
    document.querySelectorAll('button.upload-container[aria-label]:not(.icon-mode)').forEach((button) => {
      if (button.innerText.trim()) button.removeAttribute('aria-label');
    });
  }
  new MutationObserver(() => {
    if (!waiting) { waiting = true; requestAnimationFrame(nameBlocks); }
  }).observe(document, { childList: true, subtree: true });
})();
