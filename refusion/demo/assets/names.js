// The buttons of an input do not say which input they belong to; a block that is a group is announced with its label.
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
    // Gradio nests a button within a button here; only the inner one does something.
    document.querySelectorAll('button.icon-button:has(button.upload-container):not([role])').forEach((outer) => {
      outer.setAttribute('role', 'group');
      outer.setAttribute('tabindex', '-1');
      outer.setAttribute('aria-label', 'Add files');
      outer.title = 'Add files';
    });
    // Voice control needs a button's name to be its visible text.
    document.querySelectorAll('.gallery .thumbnail-lg[aria-label]').forEach((button) => {
      button.removeAttribute('aria-label');
    });
    document.querySelectorAll('button.upload-container[aria-label]:not(.icon-mode)').forEach((button) => {
      if (button.innerText.trim()) button.removeAttribute('aria-label');
    });
  }
  new MutationObserver(() => {
    if (!waiting) { waiting = true; requestAnimationFrame(nameBlocks); }
  }).observe(document, { childList: true, subtree: true });
})();
